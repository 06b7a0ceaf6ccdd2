//! Reading the configuration again while the node runs.

use gantry_settings::{LogLevel, Settings, TimeoutPolicy, changes};
use gantry_telemetry::Level;
use serde_json::{Value, json};

use crate::SupervisorError;
use crate::node_row::{apply, is_live};
use crate::node_segments::waiting_keys;
use crate::reap::wake_all;
use crate::run::Supervisor;

impl Supervisor {
    /// Reads the file again, applies what can change while running and names the rest.
    ///
    /// # Errors
    /// What is wrong with the file; nothing has changed then.
    pub(crate) fn reload(&mut self) -> Result<Value, SupervisorError> {
        self.take_up_file().inspect_err(|error| {
            tracing::error!(%error, "the configuration was read again and is not taken, or not whole");
        })
    }

    fn take_up_file(&mut self) -> Result<Value, SupervisorError> {
        let new = Settings::load(&self.settings.file)?;
        let before = changes(&self.settings, &new);
        let applied: Vec<String> = before.applicable.into_iter().filter(|key| is_live(key)).collect();
        let (timeout, policy) = (self.settings.service.timeout, self.settings.service.policy);
        take_live(&mut self.settings, &new);
        let rest = changes(&self.settings, &new);
        self.needs_restart = [rest.applicable, rest.needs_restart].concat();
        for key in waiting_keys(self.segments.control(), &self.settings) {
            if !self.needs_restart.contains(&key) {
                self.needs_restart.push(key);
            }
        }
        apply(&self.settings, self.segments.control().node());
        wake_all(self.segments.control(), &self.doorbells);
        self.set_log_level(log_level(self.settings.log.level));
        let is_changed = (timeout, policy) != (self.settings.service.timeout, self.settings.service.policy);
        // What is not read yet is published with these when it is.
        if is_changed && self.is_prepared {
            // They stand in the row of every service that has none of its own.
            self.publish(self.snapshot.clone())?;
        }
        let needs_restart = self.needs_restart.join(", ");
        tracing::warn!(applied = applied.join(", "), needs_restart, "the configuration was read again");
        Ok(json!({ "applied": applied, "needs_restart": self.needs_restart }))
    }
}

/// Takes over the keys that [`is_live`] names.
fn take_live(settings: &mut Settings, new: &Settings) {
    settings.admission.read_threshold = new.admission.read_threshold;
    settings.admission.read_resume = new.admission.read_resume;
    settings.comm.header_timeout = new.comm.header_timeout;
    settings.comm.body_timeout = new.comm.body_timeout;
    settings.comm.idle_timeout = new.comm.idle_timeout;
    settings.comm.write_timeout = new.comm.write_timeout;
    settings.log.level = new.log.level;
    settings.service.policy = new.service.policy;
    settings.service.quarantine_deaths = new.service.quarantine_deaths;
    settings.service.quarantine_window = new.service.quarantine_window;
    settings.service.canary_deaths = new.service.canary_deaths;
    settings.service.canary_calls = new.service.canary_calls;
    settings.service.canary_errors = new.service.canary_errors;
    settings.service.canary_slowness = new.service.canary_slowness;
    settings.service.timeout = new.service.timeout;
}

/// The level in the words of the log.
pub(crate) fn log_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

/// The policy of services that have none of their own, in the words of the frame.
pub(crate) fn policy(policy: TimeoutPolicy) -> gantry_message::Policy {
    match policy {
        TimeoutPolicy::Kill => gantry_message::Policy::Kill,
        TimeoutPolicy::Answer => gantry_message::Policy::Answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_live_is_taken_over_and_only_that_is_left_which_is_not() {
        let file = Path::new("/tmp/gantry.toml");
        let mut settings = Settings::from_text("", file).unwrap();
        let text = "[admission]\nread_threshold = 0.7\nread_resume = 0.5\nread_share = 0.6\n[service]\ntimeout = \"2s\"\n\
            policy = \"answer\"\nquarantine_deaths = 7\nquarantine_window = \"9s\"\ncanary_deaths = 2\ncanary_calls = 9\n\
            canary_errors = 0.5\ncanary_slowness = 9\n[log]\nlevel = \"debug\"\n[comm]\n\
            header_timeout = \"1s\"\nbody_timeout = \"1s\"\nidle_timeout = \"1s\"\nwrite_timeout = \"1s\"\nthreads = 2\n";
        let new = Settings::from_text(text, file).unwrap();
        take_live(&mut settings, &new);
        let rest = changes(&settings, &new);
        assert_eq!(rest.needs_restart, ["admission.read_share", "comm.threads"]);
        assert!(rest.applicable.iter().all(|key| !is_live(key)), "{:?}", rest.applicable);
    }
}
