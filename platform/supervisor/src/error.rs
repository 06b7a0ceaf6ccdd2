//! Why a node cannot be started or kept running.

use std::io;
use std::path::PathBuf;

use gantry_segment::SegmentError;
use gantry_settings::SettingsError;
use gantry_sys::limits::NofileError;
use gantry_sys::lock::LockError;
use gantry_sys::shm::ShmError;

/// Why a node cannot be started or kept running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The pid file is held by another supervisor, or cannot be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The process may not open as many files as the configuration needs.
    #[error(transparent)]
    Nofile(#[from] NofileError),
    /// The segments cannot be made or gone on with.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// A segment cannot be removed.
    #[error(transparent)]
    Remove(#[from] ShmError),
    /// A folder or file of the node cannot be made or is not private.
    #[error("{}: {problem}: {cause}; see that this user owns it and may write there", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What failed.
        problem: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Another supervisor has this node, from another state folder.
    #[error(
        "process {pid} supervises a node \"{name}\" with another state folder; stop it with its own configuration, or give \
         this node another name"
    )]
    Supervised {
        /// The node's name.
        name: String,
        /// The other supervisor.
        pid: i32,
    },
    /// A process of an earlier supervisor does not end when it is killed.
    #[error(
        "{process} cannot be ended; it hangs in the kernel, most likely on a disk or a network file system"
    )]
    CannotEnd {
        /// The process, as `worker 4711`.
        process: String,
    },
    /// The sizes in the configuration changed, and the segments still hold accepted requests.
    #[error(
        "the segments of \"{name}\" hold {requests_count} accepted requests and were made with other sizes: {cause}; start \
         once with the old sizes so that they are finished, or give them up with `gantry stop --now`"
    )]
    WorkInside {
        /// The node's name.
        name: String,
        /// Accepted requests that are not answered yet.
        requests_count: usize,
        /// What differs.
        cause: Box<SegmentError>,
    },
    /// A socket of the node cannot be opened.
    #[error("{cause}; stop what uses it, or change [listen] or node.state_dir")]
    Listen {
        /// What the system said; it names the address.
        #[source]
        cause: io::Error,
    },
    /// A system call that only fails for lack of memory or descriptors.
    #[error("{call}: {cause}; the machine is short of memory or descriptors")]
    System {
        /// What failed.
        call: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The libraries and tables could not be prepared.
    #[error("the services cannot be prepared: {reason}")]
    Prepare {
        /// What the helper said.
        reason: String,
    },
    /// The service table does not fit the shared memory.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A child died again and again before the node was ready.
    #[error("{child} died {deaths_count} times before it was ready ({exit}); it said: {said}")]
    ChildFails {
        /// Which child, as `worker (read)`.
        child: &'static str,
        /// How often.
        deaths_count: u32,
        /// How it ended last.
        exit: String,
        /// The end of its standard error.
        said: String,
    },
    /// The configuration cannot be read again.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Why a snapshot of the registry cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// More service numbers than rows were ever known to these segments.
    #[error(
        "{numbers_count} service numbers are known, the shared memory has {rows_count} rows; raise ipc.services_max and \
         restart the node"
    )]
    ServicesFull {
        /// Numbers in the snapshot.
        numbers_count: usize,
        /// Rows of the service table.
        rows_count: usize,
    },
    /// More libraries than rows.
    #[error(
        "all {rows_count} rows of the library table are in use; wait until all workers serve the last change"
    )]
    LibrariesFull {
        /// Rows of the library table.
        rows_count: usize,
    },
    /// The path of a library is longer than its row.
    #[error("the path {file} has more than {bytes_max} bytes; choose a shorter node.state_dir")]
    PathTooLong {
        /// The path.
        file: String,
        /// The most bytes a row holds.
        bytes_max: usize,
    },
    /// A service names a library that the snapshot does not have.
    #[error(
        "service {number} names the library {library}, which the registry does not know; deploy it again"
    )]
    LibraryUnknown {
        /// The service.
        number: gantry_message::ServiceNumber,
        /// The library.
        library: String,
    },
}
