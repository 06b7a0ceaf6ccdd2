//! The three segments of a node: made, found and attached together.

use std::fmt;
use std::str::FromStr;

use gantry_sys::shm::{self, SegmentId, SegmentKey, ShmError};

use crate::bodies::Bodies;
use crate::control::Control;
use crate::dimensions::Dimensions;
use crate::directory::{Directory, NUMBERS};
use crate::header::{HEADER_PAGE, Header, Identity, MAGIC, SegmentKind};
use crate::layout::DIRECTORY_BYTES;
use crate::region::Region;
use crate::{BlockClass, SegmentError};

/// Where segments come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// System V; `key` replaces the key computed from the node's name.
    SysV {
        /// A key other than 0 whose low two bits are not used.
        key: Option<i32>,
    },
    /// POSIX shared memory, named after the node.
    Posix,
}

/// What a parent tells its children: the ids, and which making of the segments they belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// Control segment.
    pub control: SegmentId,
    /// Blocks segment.
    pub blocks: SegmentId,
    /// Directory segment.
    pub directory: SegmentId,
    /// Creation id, the same in all three headers.
    pub creation: u64,
}

impl fmt::Display for Handoff {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{},{},{},{:016x}", self.control, self.blocks, self.directory, self.creation)
    }
}

impl FromStr for Handoff {
    type Err = SegmentError;

    fn from_str(text: &str) -> Result<Self, SegmentError> {
        let wrong = || SegmentError::Handoff { text: text.to_owned() };
        let parts: Vec<&str> = text.split(',').collect();
        let [control, blocks, directory, creation] = parts[..] else { return Err(wrong()) };
        let id = |part: &str| SegmentId::from_str(part).map_err(|_| wrong());
        Ok(Self {
            control: id(control)?,
            blocks: id(blocks)?,
            directory: id(directory)?,
            creation: u64::from_str_radix(creation, 16).map_err(|_| wrong())?,
        })
    }
}

/// What lies under a node's keys.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Segments of this node and of these sizes, to go on with.
    Ours(Box<Segments>),
}

/// What became of the segments under a node's keys.
#[derive(Debug, Default)]
pub struct Removal {
    /// They are removed.
    pub removed: Vec<SegmentId>,
    /// They are not Gantry's, and were left alone.
    pub foreign: Vec<SegmentId>,
}

/// The attached segments of one node.
#[derive(Debug)]
pub struct Segments {
    control: Control,
    bodies: Bodies,
    directory: Region,
    handoff: Handoff,
}

impl Segments {
    /// Makes the three segments. `creation` is a random number, `created_ms` the wall clock.
    ///
    /// A death in the middle leaves segments without a magic or without a partner; [`remove_all`](Self::remove_all)
    /// clears them.
    ///
    /// # Errors
    /// [`SegmentError::System`] when a segment exists already or the system refuses.
    pub fn create(
        backend: Backend,
        name: &str,
        dimensions: &Dimensions,
        creation: u64,
        created_ms: u64,
    ) -> Result<Self, SegmentError> {
        dimensions.check()?;
        // Control comes last: it is what others look for.
        let mut ids = Vec::new();
        for kind in [SegmentKind::Directory, SegmentKind::Blocks, SegmentKind::Control] {
            let reserve = kind != SegmentKind::Directory;
            let id = shm::create(&key(backend, name, kind), bytes_for(kind, dimensions), reserve)
                .map_err(|cause| SegmentError::System { what: kind.name(), cause })?;
            let region = attach(kind, &id)?;
            let identity = Identity { kind, creation, name, created_ms };
            region.one::<Header>(0)?.write(identity, dimensions);
            ids.push(id);
        }
        let [directory, blocks, control] = <[SegmentId; 3]>::try_from(ids).expect("three were made");
        Self::attach(&Handoff { control, blocks, directory, creation })
    }

    /// Looks for the segments of a node, as a supervisor does when it starts.
    ///
    /// # Errors
    /// When something is there that cannot be gone on with: foreign, of another layout, node or size, or only a
    /// part. The message names the remedy.
    pub fn find(backend: Backend, name: &str, dimensions: &Dimensions) -> Result<Found, SegmentError> {
        let Some(handoff) = Self::look_up(backend, name)? else { return Ok(Found::Nothing) };
        let segments = Self::attach(&handoff)?;
        let header = segments.control.header();
        let id = handoff.control.to_string();
        if header.node_name() != name {
            let (found, wanted) = (header.node_name(), name.to_owned());
            return Err(SegmentError::OtherNode { what: "control", id, found, wanted });
        }
        header.compare(dimensions, "control", &id)?;
        Ok(Found::Ours(Box::new(segments)))
    }

    /// The ids under a node's keys, without a look at the sizes; `None` when none of the three exists.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn look_up(backend: Backend, name: &str) -> Result<Option<Handoff>, SegmentError> {
        let find = |kind: SegmentKind| {
            shm::find(&key(backend, name, kind))
                .map_err(|cause| SegmentError::System { what: kind.name(), cause })
        };
        let control = find(SegmentKind::Control)?;
        let blocks = find(SegmentKind::Blocks)?;
        let directory = find(SegmentKind::Directory)?;
        match (control, blocks, directory) {
            (None, None, None) => Ok(None),
            (Some(control), Some(blocks), Some(directory)) => {
                let region = attach(SegmentKind::Control, &control)?;
                let header = region.one::<Header>(0)?;
                header.check(SegmentKind::Control, &control.to_string())?;
                let creation = header.creation();
                Ok(Some(Handoff { control, blocks, directory, creation }))
            }
            (control, blocks, directory) => {
                let rest = control.or(blocks).or(directory).map(|id| id.to_string());
                let (what, id) = ("half-made or half-removed", rest.unwrap_or_default());
                Err(SegmentError::Mixed { what, id })
            }
        }
    }

    /// Attaches the segments that a parent named.
    ///
    /// # Errors
    /// When one is gone, foreign, of another layout, or of another making than the hand-off says.
    pub fn attach(handoff: &Handoff) -> Result<Self, SegmentError> {
        let checked = |kind: SegmentKind, id: &SegmentId| -> Result<Region, SegmentError> {
            let region = attach(kind, id)?;
            let header = region.one::<Header>(0)?;
            header.check(kind, &id.to_string())?;
            if header.creation() != handoff.creation {
                return Err(SegmentError::Mixed { what: kind.name(), id: id.to_string() });
            }
            Ok(region)
        };
        let control = checked(SegmentKind::Control, &handoff.control)?;
        let blocks = checked(SegmentKind::Blocks, &handoff.blocks)?;
        let directory = checked(SegmentKind::Directory, &handoff.directory)?;
        let dimensions = control.one::<Header>(0)?.dimensions()?;
        directory.bytes(0, DIRECTORY_BYTES)?;
        Ok(Self {
            control: Control::open(control, dimensions.clone())?,
            bodies: Bodies::open(blocks, dimensions)?,
            directory,
            handoff: handoff.clone(),
        })
    }

    /// Removes what lies under a node's keys and is Gantry's, of whatever layout, also half-made. The memory goes when the
    /// last process detaches. The caller makes sure that nobody lives on them. What somebody else made is left alone.
    ///
    /// # Errors
    /// [`SegmentError::System`] when the system refuses.
    pub fn remove_all(backend: Backend, name: &str) -> Result<Removal, SegmentError> {
        let mut removal = Removal::default();
        for kind in [SegmentKind::Control, SegmentKind::Blocks, SegmentKind::Directory] {
            let system = |cause| SegmentError::System { what: kind.name(), cause };
            let Some(id) = shm::find(&key(backend, name, kind)).map_err(system)? else { continue };
            if may_be_removed(&id).map_err(system)? {
                shm::remove(&id).map_err(system)?;
                removal.removed.push(id);
            } else {
                removal.foreign.push(id);
            }
        }
        Ok(removal)
    }

    /// Removes exactly these segments, and no others that may lie under the same keys by now.
    ///
    /// # Errors
    /// [`ShmError`] of the first that cannot be removed.
    pub fn remove(&self) -> Result<(), ShmError> {
        shm::remove(&self.handoff.control)?;
        shm::remove(&self.handoff.blocks)?;
        shm::remove(&self.handoff.directory)
    }

    /// The control segment.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The blocks segment.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// The directory.
    pub fn directory(&self) -> Directory<'_> {
        let entries =
            self.directory.many(HEADER_PAGE, NUMBERS).expect("its size was checked when it was attached");
        Directory { entries, pages: self.control.pages() }
    }

    /// What children need to attach the same segments.
    pub fn handoff(&self) -> &Handoff {
        &self.handoff
    }
}

fn bytes_for(kind: SegmentKind, dimensions: &Dimensions) -> usize {
    match kind {
        SegmentKind::Control => Control::bytes_for(dimensions),
        SegmentKind::Blocks => Bodies::bytes_for(dimensions),
        SegmentKind::Directory => DIRECTORY_BYTES,
    }
}

/// Whether a segment is Gantry's, or was never written to: its maker died before it could.
fn may_be_removed(id: &SegmentId) -> Result<bool, ShmError> {
    let attachment = shm::attach(id)?;
    let Some(front) = attachment.shared().slice(..size_of::<Header>()) else { return Ok(false) };
    let front = front.to_vec();
    Ok(front.starts_with(&MAGIC.to_le_bytes()) || front.iter().all(|byte| *byte == 0))
}

fn attach(kind: SegmentKind, id: &SegmentId) -> Result<Region, SegmentError> {
    let attachment = shm::attach(id).map_err(|cause| SegmentError::System { what: kind.name(), cause })?;
    Ok(Region::attached(attachment))
}

/// The key of a segment: from the configured key, or from the node's name by FNV-1a. Not `ftok`, which collides
/// and changes when its file is made anew.
fn key(backend: Backend, name: &str, kind: SegmentKind) -> SegmentKey {
    match backend {
        Backend::SysV { key } => {
            let base = key.unwrap_or_else(|| {
                let hash = name
                    .bytes()
                    .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
                (hash & 0x7fff_fffc) as i32
            });
            SegmentKey::SysV((base & !3) | kind as i32)
        }
        Backend::Posix => SegmentKey::Posix(format!("/gantry-{name}-{}", kind.name())),
    }
}

impl fmt::Display for BlockClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} blocks of {} bytes", self.blocks_count, self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DirectoryEntry;
    use gantry_sys::atomic::Ordering;

    /// Removes the segments of a test when it ends, also when it fails.
    struct Cleanup(Backend, String);

    impl Drop for Cleanup {
        fn drop(&mut self) {
            Segments::remove_all(self.0, &self.1).expect("a test's segments can be removed");
        }
    }

    fn backends() -> [Backend; 2] {
        [Backend::SysV { key: None }, Backend::Posix]
    }

    fn name(test: &str) -> String {
        format!("segtest-{test}-{}", std::process::id())
    }

    #[test]
    fn made_segments_are_found_again_with_what_was_in_them() {
        for backend in backends() {
            let name = name("found");
            let _cleanup = Cleanup(backend, name.clone());
            let dimensions = Dimensions::small();
            let made = Segments::create(backend, &name, &dimensions, 77, 1).unwrap();
            made.control().node().log_level.store(3, Ordering::Relaxed);
            made.directory().publish(20_000_004, Some(DirectoryEntry { kind: 2, service_index: 5 }));
            let handoff: Handoff = made.handoff().to_string().parse().unwrap();
            assert_eq!(handoff, *made.handoff());
            drop(made);
            let Found::Ours(found) = Segments::find(backend, &name, &dimensions).unwrap() else {
                panic!("the segments were not found")
            };
            assert_eq!(found.control().node().log_level.load(Ordering::Relaxed), 3);
            assert_eq!(found.directory().look_up(20_000_004).unwrap().service_index, 5);
            assert_eq!(found.directory().look_up(10_000_001), None);
        }
    }

    #[test]
    fn segments_of_other_sizes_are_refused_with_the_figure() {
        for backend in backends() {
            let name = name("sizes");
            let _cleanup = Cleanup(backend, name.clone());
            Segments::create(backend, &name, &Dimensions::small(), 77, 1).unwrap();
            let other = Dimensions { slots: 17, ..Dimensions::small() };
            let error = Segments::find(backend, &name, &other).unwrap_err().to_string();
            assert!(error.contains("slots: 16, configured 17") && error.contains("ipc clean"), "{error}");
        }
    }

    #[test]
    fn a_second_making_and_a_wrong_creation_are_refused() {
        for backend in backends() {
            let name = name("twice");
            let _cleanup = Cleanup(backend, name.clone());
            let made = Segments::create(backend, &name, &Dimensions::small(), 77, 1).unwrap();
            let again = Segments::create(backend, &name, &Dimensions::small(), 78, 1);
            assert!(matches!(again, Err(SegmentError::System { .. })));
            let stale = Handoff { creation: 78, ..made.handoff().clone() };
            assert!(matches!(Segments::attach(&stale), Err(SegmentError::Mixed { .. })));
        }
    }

    #[test]
    fn a_foreign_segment_under_the_key_is_refused() {
        for backend in backends() {
            let name = name("foreign");
            let _cleanup = Cleanup(backend, name.clone());
            for kind in [SegmentKind::Control, SegmentKind::Blocks, SegmentKind::Directory] {
                shm::create(&key(backend, &name, kind), 8192, false).unwrap();
            }
            let error = Segments::find(backend, &name, &Dimensions::small()).unwrap_err();
            assert!(matches!(error, SegmentError::Foreign { .. }), "{error}");
        }
    }

    #[test]
    fn a_half_made_set_is_refused_and_can_be_removed() {
        for backend in backends() {
            let name = name("half");
            let _cleanup = Cleanup(backend, name.clone());
            shm::create(&key(backend, &name, SegmentKind::Blocks), 8192, false).unwrap();
            let error = Segments::find(backend, &name, &Dimensions::small()).unwrap_err();
            assert!(matches!(error, SegmentError::Mixed { .. }), "{error}");
            assert_eq!(Segments::remove_all(backend, &name).unwrap().removed.len(), 1);
            assert!(matches!(Segments::find(backend, &name, &Dimensions::small()), Ok(Found::Nothing)));
        }
    }
}
