//! What a run is to be like.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::spoil::Spoil;
use crate::Backend;

/// What can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Workers of both queues, spare ones included.
    Worker,
    /// The communication process.
    Comm,
    /// The process that holds its sockets.
    Keeper,
    /// The supervisor.
    Supervisor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Worker, Self::Comm, Self::Keeper, Self::Supervisor];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Comm => "comm",
            Self::Keeper => "keeper",
            Self::Supervisor => "supervisor",
        }
    }

    /// How many kills of it a minute has to have at least, so that a run proves something.
    fn kills_per_minute_min(self) -> f64 {
        match self {
            Self::Worker => 40.0,
            Self::Comm => 12.0,
            Self::Keeper => 5.0,
            Self::Supervisor => 3.0,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long things are killed.
    pub duration: Duration,
    /// Where all randomness comes from.
    pub seed: u64,
    /// What is killed.
    pub roles: BTreeSet<Role>,
    /// The kind of shared memory.
    pub backend: Backend,
    /// I/O threads of the communication process.
    pub threads: u32,
    /// Write workers.
    pub writers: u32,
    /// Connections over TCP; a few more come over the Unix socket.
    pub connections: usize,
    /// Writes that are open at once, those of the probe besides: a queue that is always long hides how soon a killed
    /// worker is replaced, one that is always short has few that wait when it dies.
    pub writes_max: usize,
    /// Whether commands are given meanwhile: reloads, deploys, log levels, SIGHUP.
    pub commands: bool,
    /// A share of the kills that a run of this length must have at least, in percent: slow machines kill less.
    pub kills_percent: u32,
    /// What is broken on purpose.
    pub spoil: Option<Spoil>,
}

/// How the command line is written.
pub const USAGE: &str = "\
usage: chaos [--minutes N] [--seconds N] [--seed S] [--roles worker,comm,keeper,supervisor] [--backend sysv|posix]
             [--threads 1|2] [--writers N] [--connections N] [--no-commands] [--kills-percent N] [--spoil WHAT]

  --spoil breaks one thing on purpose (answer, twice, sockets, write, movement, entry, slot, descriptor, process, log) and
  succeeds when the run has noticed that
  threads and writers are drawn from the seed when they are not given; the seed is drawn from the clock";

impl Plan {
    /// A run of this length with everything else drawn from the seed.
    #[must_use]
    pub fn new(duration: Duration, seed: u64) -> Self {
        let mut dice = super::dice::Dice::new(seed, 0);
        Self {
            duration,
            seed,
            roles: Role::ALL.into(),
            backend: Backend::chosen(),
            threads: if dice.chance(400) { 2 } else { 1 },
            writers: if dice.chance(500) { 2 } else { 1 },
            connections: 60,
            writes_max: [8, 32, 400][dice.below(3)],
            commands: true,
            kills_percent: 100,
            spoil: None,
        }
    }

    /// A seed that no other run is likely to have.
    #[must_use]
    pub fn seed_of_now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos()) ^ (since.as_secs() << 20)
    }

    /// Reads the arguments of a command line.
    ///
    /// # Errors
    /// In words, what cannot be understood.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let arguments: Vec<String> = arguments.into_iter().collect();
        let seed = match value_of(&arguments, "--seed")? {
            Some(text) => number(&text)?,
            None => Self::seed_of_now(),
        };
        let mut plan = Self::new(Duration::from_secs(60), seed);
        let mut rest = arguments.iter();
        while let Some(flag) = rest.next() {
            if flag == "--no-commands" {
                plan.commands = false;
                continue;
            }
            let value = rest.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--seed" => {}
                "--minutes" => plan.duration = Duration::from_secs(60 * number::<u64>(value)?),
                "--seconds" => plan.duration = Duration::from_secs(number(value)?),
                "--roles" => plan.roles = roles(value)?,
                "--threads" => plan.threads = number(value)?,
                "--writers" => plan.writers = number(value)?,
                "--connections" => plan.connections = number(value)?,
                "--kills-percent" => plan.kills_percent = number(value)?,
                "--spoil" => plan.spoil = Some(spoil(value)?),
                "--backend" => plan.backend = backend(value)?,
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(plan)
    }

    /// How many kills of a role this run must have at least.
    #[must_use]
    pub fn kills_min(&self, role: Role) -> u64 {
        if !self.roles.contains(&role) {
            return 0;
        }
        let minutes = self.duration.as_secs_f64() / 60.0;
        let kills = role.kills_per_minute_min() * minutes * f64::from(self.kills_percent) / 100.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count above zero"
        )]
        let kills = kills as u64;
        kills
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        let backend = self.backend.name();
        write!(
            formatter,
            "--seconds {} --seed {} --roles {} --backend {backend} --threads {} --writers {} --connections {}",
            self.duration.as_secs(),
            self.seed,
            if roles.is_empty() { "none".to_owned() } else { roles.join(",") },
            self.threads,
            self.writers,
            self.connections,
        )?;
        if self.kills_percent != 100 {
            write!(formatter, " --kills-percent {}", self.kills_percent)?;
        }
        if let Some(spoil) = self.spoil {
            write!(formatter, " --spoil {}", spoil.name())?;
        }
        formatter.write_str(if self.commands { "" } else { " --no-commands" })
    }
}

fn value_of(arguments: &[String], flag: &str) -> Result<Option<String>, String> {
    let Some(at) = arguments.iter().position(|argument| argument == flag) else { return Ok(None) };
    arguments.get(at + 1).cloned().map(Some).ok_or_else(|| format!("{flag} needs a value"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits here"))
}

fn roles(text: &str) -> Result<BTreeSet<Role>, String> {
    let known = |word: &str| Role::ALL.into_iter().find(|role| role.name() == word);
    let words = text.split(',').filter(|word| !word.is_empty() && *word != "none");
    words.map(|word| known(word).ok_or_else(|| format!("{word:?} is no role"))).collect()
}

fn spoil(text: &str) -> Result<Spoil, String> {
    let found = Spoil::ALL.into_iter().find(|spoil| spoil.name() == text);
    found.ok_or_else(|| format!("{text:?} cannot be spoilt"))
}

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "sysv" => Ok(Backend::SysV),
        "posix" => Ok(Backend::Posix),
        other => Err(format!("{other:?} is no backend")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, Role};
    use std::time::Duration;

    fn read(line: &str) -> Result<Plan, String> {
        Plan::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn printed_plan_is_read_back_as_the_same_run() {
        let plan = read("--minutes 2 --seed 9 --roles worker,keeper --backend posix --kills-percent 70 --spoil slot --no-commands").unwrap();
        let again = read(&plan.to_string()).unwrap();
        assert_eq!(plan.to_string(), again.to_string());
        assert_eq!((plan.duration, plan.seed), (Duration::from_secs(120), 9));
        assert_eq!(plan.kills_min(Role::Keeper), 7);
        assert_eq!(plan.kills_min(Role::Comm), 0, "what is not killed is not asked for");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in
            ["--minutes", "--minutes x", "--roles manager", "--backend shm", "--spoil all", "--colour red"]
        {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
