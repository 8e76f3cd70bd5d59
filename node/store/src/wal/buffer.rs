//! Where committers leave their records until the log is written.
//!
//! LSNs are given under the lock that guards this buffer, so records lie in LSN order.

use crate::limits;
use crate::lsn::Lsn;
use crate::wal::frame;

/// Records of consecutive transactions with room for a frame header in front: one frame to be.
pub(crate) struct Chunk {
    pub(crate) frame: Vec<u8>,
    pub(crate) first_lsn: Lsn,
    pub(crate) count: u32,
}

impl Chunk {
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.count) - 1)
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct LogBuffer {
    chunks: Vec<Chunk>,
    bytes: usize,
    /// Emptied frames, kept so that a steady load allocates nothing.
    spare: Vec<Vec<u8>>,
}

const MOST_SPARE_FRAMES: usize = 4;

impl LogBuffer {
    /// Appends the record of the transaction `lsn`.
    pub(crate) fn push(&mut self, lsn: Lsn, record: &[u8]) {
        let fits = self.chunks.last().is_some_and(|chunk| {
            chunk.frame.len() + record.len() <= limits::FRAME_TARGET_BYTES
                && chunk.last_lsn().next() == lsn
        });
        if !fits {
            let frame = self
                .spare
                .pop()
                .unwrap_or_else(|| frame::empty_frame(16 * 1024));
            self.chunks.push(Chunk {
                frame,
                first_lsn: lsn,
                count: 0,
            });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.frame.extend_from_slice(record);
            chunk.count += 1;
        }
        self.bytes += record.len();
    }

    /// Bytes of records that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The first LSN that waits.
    pub(crate) fn first_lsn(&self) -> Option<Lsn> {
        self.chunks.first().map(|chunk| chunk.first_lsn)
    }

    /// Takes everything that waits.
    pub(crate) fn take(&mut self) -> Vec<Chunk> {
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Gives written frames back for reuse.
    pub(crate) fn recycle(&mut self, chunks: Vec<Chunk>) {
        for mut chunk in chunks {
            if self.spare.len() >= MOST_SPARE_FRAMES {
                break;
            }
            if chunk.frame.capacity() <= 2 * limits::FRAME_TARGET_BYTES {
                chunk.frame.clear();
                chunk.frame.resize(frame::HEADER_BYTES, 0);
                self.spare.push(chunk.frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_gather_into_frames_of_bounded_size_in_lsn_order() {
        let mut buffer = LogBuffer::default();
        let record = vec![7u8; 300 * 1024];
        for n in 1..=5 {
            buffer.push(Lsn(n), &record);
        }
        assert_eq!(buffer.bytes(), 5 * record.len());
        let chunks = buffer.take();
        assert!(buffer.is_empty() && buffer.bytes() == 0);
        let shape: Vec<_> = chunks.iter().map(|c| (c.first_lsn, c.last_lsn())).collect();
        assert_eq!(shape, [(Lsn(1), Lsn(3)), (Lsn(4), Lsn(5))]);
        buffer.recycle(chunks);
        buffer.push(Lsn(6), b"x");
        let frames = buffer.take();
        assert_eq!(
            frames[0].frame.len(),
            frame::HEADER_BYTES + 1,
            "a recycled frame is empty"
        );
    }
}
