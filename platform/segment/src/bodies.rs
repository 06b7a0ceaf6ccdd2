//! The blocks segment: bodies of requests and replies, and receive buffers.

use gantry_sys::bytes::SharedBytes;

use crate::SegmentError;
use crate::dimensions::Dimensions;
use crate::layout::BlocksLayout;
use crate::region::Region;

/// The bytes of blocks and receive buffers. Who may write which is decided by the block's tag and the slot's
/// word (`gantry-ring`), and by the connection row for receive buffers.
#[derive(Debug)]
pub struct Bodies {
    region: Region,
    dimensions: Dimensions,
    layout: BlocksLayout,
}

impl Bodies {
    /// Opens a region that is laid out for `dimensions`.
    ///
    /// # Errors
    /// [`SegmentError::OutOfRegion`] when the region is too small for them.
    pub fn open(region: Region, dimensions: Dimensions) -> Result<Self, SegmentError> {
        dimensions.check()?;
        let layout = BlocksLayout::new(&dimensions);
        region.bytes(0, layout.bytes)?;
        Ok(Self { region, dimensions, layout })
    }

    /// Zeroed blocks on the heap, for tests.
    ///
    /// # Errors
    /// [`SegmentError::Dimension`] for sizes that cannot be laid out.
    pub fn heap(dimensions: Dimensions) -> Result<Self, SegmentError> {
        dimensions.check()?;
        let bytes = BlocksLayout::new(&dimensions).bytes;
        Self::open(Region::heap(bytes), dimensions)
    }

    /// Bytes that a blocks segment of these dimensions takes.
    pub fn bytes_for(dimensions: &Dimensions) -> usize {
        BlocksLayout::new(dimensions).bytes
    }

    /// A block's bytes; `None` when there is no such class or block.
    pub fn block(&self, class: usize, index: usize) -> Option<SharedBytes<'_>> {
        let size = self.dimensions.classes.get(class)?;
        if index >= size.blocks_count as usize {
            return None;
        }
        let bytes = size.block_bytes as usize;
        self.region.bytes(self.layout.classes[class] + index * bytes, bytes).ok()
    }

    /// A receive buffer's bytes; `None` when there is no such buffer.
    pub fn receive_buffer(&self, index: usize) -> Option<SharedBytes<'_>> {
        if index >= self.dimensions.receive_buffers as usize {
            return None;
        }
        let bytes = self.dimensions.receive_buffer_bytes as usize;
        self.region.bytes(self.layout.receive_buffers + index * bytes, bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_buffers_lie_apart() {
        let bodies = Bodies::heap(Dimensions::small()).unwrap();
        bodies.block(0, 15).unwrap().copy_from(&[1; 1024]);
        bodies.block(1, 0).unwrap().copy_from(&[2; 4096]);
        bodies.receive_buffer(3).unwrap().copy_from(&[3; 1024]);
        assert_eq!(bodies.block(0, 15).unwrap().to_vec(), [1; 1024]);
        assert_eq!(bodies.block(1, 0).unwrap().to_vec(), [2; 4096]);
        assert!(bodies.block(0, 16).is_none() && bodies.block(2, 0).is_none());
        assert!(bodies.receive_buffer(4).is_none());
    }
}
