//! The next segment, prepared piece by piece before it is needed.

use std::{io, sync::Arc};

use super::{
    Health, Wal,
    segment::{SegmentId, file_name, head, unfinished_name},
};
use crate::disk::{Disk, DiskFile};

/// The least that is filled at a time, in fractions of a segment and at most.
const PIECE: (u32, u32) = (16, 1 << 20);

/// What is written at a time to fill it.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The next segment.
#[derive(Debug)]
pub(super) enum Spare {
    None,
    Filling(Arc<dyn DiskFile>, u32),
    Ready(Arc<dyn DiskFile>, u32),
}

impl Wal {
    /// Whether the next segment is to be prepared: soon full, or to be left before that.
    pub(super) fn wants_spare(&self, leaving: bool) -> bool {
        let begun = self.active.end > self.active.capacity / 2;
        (begun || leaving) && !self.spare_blocked && !matches!(self.spare, Spare::Ready(..))
    }

    /// How far the next segment has to be filled by now, so that it is ready when this one is full and
    /// each round pays in proportion to what it wrote, none for a whole segment: two bytes for each
    /// that is written to the second half.
    fn fill_goal(&self) -> u32 {
        self.active.end.saturating_sub(self.active.capacity / 2).saturating_mul(2)
    }

    /// Brings the next segment to where it should be by now, and at least one piece nearer to being
    /// ready. What has been prepared so far is given up on an error: nothing is in it, and trying again
    /// begins with a new file.
    pub(super) fn fill_spare(&mut self) -> io::Result<()> {
        let id = SegmentId { seq: self.active.id.seq + 1, ..self.active.id };
        let total = self.shared.options.segment_bytes;
        let goal = self.fill_goal();
        let spare = std::mem::replace(&mut self.spare, Spare::None);
        match prepare(&*self.disk, id, total, goal, spare) {
            Ok(spare) => {
                if matches!(spare, Spare::Ready(..)) {
                    self.spare_blocked = false;
                    self.shared.health.send_if_modified(|health| {
                        let low = matches!(health, Health::LowSpace);
                        if low {
                            *health = Health::Working;
                        }
                        low
                    });
                }
                self.spare = spare;
                Ok(())
            }
            Err(error) => {
                // It may not be there; what matters is that the space is free again.
                drop(self.disk.remove(&unfinished_name(id.seq)));
                Err(error)
            }
        }
    }
}

const fn piece(total: u32) -> u32 {
    let (fraction, most) = PIECE;
    let part = total.div_ceil(fraction);
    if part < most { part } else { most }
}

/// Opens the file of a new segment and fills it up to `goal`, at least a piece per call; the name
/// changes to the final one when all of it is durable.
pub(super) fn prepare(
    disk: &dyn Disk,
    id: SegmentId,
    total: u32,
    goal: u32,
    spare: Spare,
) -> io::Result<Spare> {
    let (file, filled) = match spare {
        Spare::None => (disk.open(&unfinished_name(id.seq), true)?, 0),
        Spare::Filling(file, filled) => (file, filled),
        ready @ Spare::Ready(..) => return Ok(ready),
    };
    let goal = goal.max(filled.saturating_add(piece(total))).min(total);
    // Written and not only reserved, so that later flushes change no metadata of the file.
    let mut at = filled;
    while at < goal {
        let piece = ZEROS.get(..(goal - at) as usize).unwrap_or(&ZEROS);
        file.write_at(u64::from(at), piece)?;
        at += u32::try_from(piece.len()).unwrap_or(goal - at);
    }
    let filled = goal;
    if filled < total {
        file.sync_data()?;
        return Ok(Spare::Filling(file, filled));
    }
    file.write_at(0, &head(id))?;
    file.sync_data()?;
    disk.rename(&unfinished_name(id.seq), &file_name(id.seq))?;
    disk.sync_dir()?;
    Ok(Spare::Ready(file, total))
}
