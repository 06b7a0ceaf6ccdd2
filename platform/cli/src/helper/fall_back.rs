//! A service that leaves the build in force, because that kills workers, and comes back to it when an operator says so.

use std::time::{Duration, Instant};

use gantry_registry::{Action, LibraryDescription, Registry, RegistryError, Snapshot};
use gantry_settings::Settings;
use serde_json::{Value, json};

use super::deploy;

/// After this no further build is tried out.
const LOOK_LIMIT: Duration = Duration::from_secs(20);

/// Puts the build `from` of a service out of service. The newest earlier build that still can serve the number does so
/// from now on; without one the service is quarantined.
pub(super) fn quarantine(
    settings: &Settings,
    registry: &mut Registry,
    number: u32,
    from: &str,
) -> anyhow::Result<(Snapshot, Value)> {
    let before = registry.snapshot()?;
    let service = before.service(number).ok_or(RegistryError::UnknownService { number })?;
    let begun = Instant::now();
    // What one hangs at, the next may hang at too: whoever calls must be told, and others wait for this.
    let candidates = registry.fall_backs(number)?.into_iter().take_while(|_| begun.elapsed() < LOOK_LIMIT);
    for candidate in candidates {
        let build = candidate.build.clone();
        match deploy::kept(settings, registry, candidate) {
            Ok(library) if serves(&library, number, service.kind) => {
                let snapshot = registry.serve_by(number, from, &library, Action::Fallback)?;
                return Ok((
                    snapshot,
                    json!({ "number": number, "version": library.version, "build": build }),
                ));
            }
            Ok(_) => {}
            // The next older one may do; without any the service is quarantined, which says enough.
            Err(error) => eprintln!("build {build} cannot take over: {error:#}"),
        }
    }
    Ok((registry.set_quarantined(number, from, true)?, Value::Null))
}

fn serves(library: &LibraryDescription, number: u32, kind: gantry_registry::ServiceKind) -> bool {
    library.services.iter().any(|service| service.number == number && service.kind == kind)
}

/// Lets a service be called: one that was stopped by the build that served it before; otherwise by the build of its library
/// that is in force, which it may have had to leave.
pub(super) fn start(settings: &Settings, registry: &mut Registry, number: u32) -> anyhow::Result<Snapshot> {
    let before = registry.snapshot()?;
    let service = before.service(number).ok_or(RegistryError::UnknownService { number })?;
    let active = before.library(&service.library).filter(|active| active.build != service.build);
    if let Some(active) = active.filter(|_| service.enabled) {
        let library = deploy::kept(settings, registry, active.clone())?;
        registry.serve_by(number, &service.build, &library, Action::Start)?;
    }
    Ok(registry.set_enabled(number, true)?)
}
