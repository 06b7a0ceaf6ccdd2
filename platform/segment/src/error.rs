//! Why a segment cannot be used.

use gantry_sys::shm::ShmError;

/// Why a segment, or a place in one, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The operating system refused.
    #[error("{what} segment: {cause}")]
    System {
        /// Which segment.
        what: &'static str,
        /// What the system said.
        #[source]
        cause: ShmError,
    },
    /// A segment lies under our key that no Gantry made, or whose start is damaged.
    #[error(
        "the {what} segment {id} is not a Gantry segment, or its header is damaged (magic {magic:#018x}); \
         end what uses it, then remove it with `gantry ipc clean`, or set another `ipc.key`"
    )]
    Foreign {
        /// Which segment.
        what: &'static str,
        /// Its id, as `sysv:N` or `posix:/NAME`.
        id: String,
        /// What stands where the magic should be.
        magic: u64,
    },
    /// The segment is Gantry's, but of a version that lays it out otherwise.
    #[error(
        "the {what} segment {id} has layout version {found}, this binary knows {known}; stop the node with the \
         binary that made it, or remove the segment with `gantry ipc clean`"
    )]
    Version {
        /// Which segment.
        what: &'static str,
        /// Its id.
        id: String,
        /// The version in its header.
        found: u32,
        /// The version of this binary.
        known: u32,
    },
    /// The segment belongs to another node.
    #[error(
        "the {what} segment {id} belongs to the node \"{found}\", not to \"{wanted}\": their keys collide; set \
         `ipc.key` of one of them"
    )]
    OtherNode {
        /// Which segment.
        what: &'static str,
        /// Its id.
        id: String,
        /// The name in its header.
        found: String,
        /// Our name.
        wanted: String,
    },
    /// The segment was made with another configuration.
    #[error(
        "the {what} segment {id} was made with other sizes ({field}: {found}, configured {wanted}); stop the node \
         with its old configuration, or remove the segment with `gantry ipc clean`"
    )]
    OtherSizes {
        /// Which segment.
        what: &'static str,
        /// Its id.
        id: String,
        /// What differs.
        field: &'static str,
        /// The figure in the header.
        found: u64,
        /// The figure of the configuration.
        wanted: u64,
    },
    /// The segments of one node do not belong together.
    #[error(
        "the {what} segment {id} was made by another start of this node than its control segment; remove them with \
         `gantry ipc clean`"
    )]
    Mixed {
        /// Which segment.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A segment is smaller than its layout.
    #[error("a place of {bytes} bytes at offset {offset} is outside its region of {region_bytes} bytes")]
    OutOfRegion {
        /// Where the place starts.
        offset: usize,
        /// How long it is.
        bytes: usize,
        /// How long the region is.
        region_bytes: usize,
    },
    /// A size that cannot be laid out.
    #[error("{field} is {value}; it must be {rule}")]
    Dimension {
        /// Which size.
        field: &'static str,
        /// What it is.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The hand-off of a parent process cannot be read.
    #[error("\"{text}\" is no hand-off of segments (want CONTROL,BLOCKS,DIRECTORY,CREATION)")]
    Handoff {
        /// What was given.
        text: String,
    },
}
