//! Reading the log: the frames of all segments that count, in LSN order, up to the verdict on
//! where it ends. It writes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::wal::damage::{self, Evidence, Verdict};
use crate::wal::frame::{self, FrameFault, FrameHeader, FrameKind, Operation};
use crate::wal::segment::{
    self, FRAMES_OFFSET, HeaderFault, Origin, SegmentHeader, list_segments, read_segment,
};
use crate::wal::writer::SealedSegment;

/// What to read, and what the manifest says of it.
pub(crate) struct ReadPlan<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: &'a Path,
    pub(crate) store_id: u128,
    /// First segment that is needed.
    pub(crate) start: u64,
    /// A segment that recovery made and the manifest names: the log must lead to it.
    pub(crate) through: Option<u64>,
    /// Transactions up to this LSN are in tables.
    pub(crate) checkpoint: Lsn,
    /// The manifest's durable LSN.
    pub(crate) durable: Lsn,
}

/// A frame whose durability nothing proves.
pub(crate) struct UnprovenFrame {
    pub(crate) first_lsn: Lsn,
    pub(crate) last_lsn: Lsn,
    pub(crate) count: u32,
    pub(crate) body: Bytes,
    end: Place,
}

/// A place between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// crc32 field of the frame before, or of the segment header.
    pub(crate) chain: u32,
}

/// Where and how the log ends.
pub(crate) struct LogEnd {
    /// Last transaction that counts, at least the checkpoint.
    pub(crate) last_lsn: Lsn,
    /// LSN that the log has come to: that of the last transaction, or above it where an earlier
    /// recovery let LSNs go on higher. At least the checkpoint.
    pub(crate) reached: Lsn,
    /// Everything up to here is proven durable.
    pub(crate) proven: Lsn,
    /// Where the proven part ends: behind its last transaction. What follows there may be a
    /// heartbeat or a seal that was never synced, which a power cut can still take.
    pub(crate) proven_end: Place,
    /// What follows there, in order.
    pub(crate) unproven: VecDeque<UnprovenFrame>,
    /// All segment files from the start on, also those that do not count, by number.
    pub(crate) segments: VecDeque<SealedSegment>,
    /// Segments before the start, which nothing needs.
    pub(crate) obsolete: Vec<(PathBuf, u64)>,
    /// Largest number in use.
    pub(crate) newest_number: u64,
    /// Transactions handed out.
    pub(crate) transactions: u64,
    /// Bytes of frames read.
    pub(crate) bytes: u64,
    /// Bytes behind the end that looked like frames and were left out.
    pub(crate) bytes_cut: u64,
    /// Set when what was not synced before a restart of the machine is partly gone.
    pub(crate) unsynced_loss: Option<String>,
}

struct Walk<'a> {
    plan: &'a ReadPlan<'a>,
    headers: BTreeMap<u64, SegmentHeader>,
    lengths: BTreeMap<u64, u64>,
    /// Segment → the cut segment that continues it.
    cuts: BTreeMap<u64, u64>,
    end: LogEnd,
    /// Last LSN read from frames, or taken over from an origin.
    last: Option<Lsn>,
    expected: Option<Lsn>,
    /// Position behind the last frame.
    place: Place,
    reached_through: bool,
}

/// Reads the log and hands every operation above the checkpoint to `apply`. `progress` gets the
/// LSN reached, and bytes done and in all.
///
/// # Errors
/// Damage, with file, offset and LSN; then nothing may be served. Nothing was changed.
pub(crate) fn read_log(
    plan: &ReadPlan<'_>,
    apply: &mut dyn FnMut(Lsn, Operation),
    progress: &mut dyn FnMut(Lsn, u64, u64),
) -> Result<LogEnd> {
    let lengths = list_segments(plan.disk, plan.dir)?;
    let mut walk = Walk::begin(plan, lengths)?;
    let total: u64 = walk
        .lengths
        .range(plan.start..)
        .map(|(_, length)| length)
        .sum();
    let mut number = plan.start;
    let mut entered_by_salt = None;
    loop {
        walk.reached_through |= plan.through.is_none_or(|through| number == through);
        let next = walk.segment(number, entered_by_salt, apply)?;
        progress(walk.end.last_lsn, walk.end.bytes.min(total), total);
        match next {
            Next::Sealed { successor, salt } => (number, entered_by_salt) = (successor, Some(salt)),
            Next::Cut { successor } => (number, entered_by_salt) = (successor, None),
            Next::End => break,
        }
    }
    if !walk.reached_through {
        let path = plan
            .dir
            .join(segment::file_name(plan.through.unwrap_or(plan.start)));
        return Err(StoreError::corrupt(
            path,
            0,
            "the manifest names this segment, but the log does not lead to it",
        ));
    }
    Ok(walk.finish())
}

enum Next {
    Sealed { successor: u64, salt: u64 },
    Cut { successor: u64 },
    End,
}

impl<'a> Walk<'a> {
    fn begin(plan: &'a ReadPlan<'a>, lengths: BTreeMap<u64, u64>) -> Result<Self> {
        let mut headers = BTreeMap::new();
        let mut cuts = BTreeMap::new();
        let mut obsolete = Vec::new();
        for (&number, &length) in &lengths {
            let path = plan.dir.join(segment::file_name(number));
            if number < plan.start {
                obsolete.push((path, length));
                continue;
            }
            let head = length.min(FRAMES_OFFSET);
            let io = |op| {
                let path = path.clone();
                move |error: std::io::Error| StoreError::io(op, &path, &error)
            };
            let mut bytes = vec![0; usize::try_from(head).unwrap_or(0)];
            let file = plan.disk.open(&path, OpenMode::Read).map_err(io("open"))?;
            file.read_exact_at(&mut bytes, 0).map_err(io("read"))?;
            match SegmentHeader::decode(&bytes) {
                Ok(header) if header.store_id != plan.store_id => {
                    return Err(StoreError::Mismatch {
                        path,
                        detail: "this segment belongs to another store; check --wal-dir".to_owned(),
                    });
                }
                Ok(header) if header.number == number => {
                    if let Origin::Cut { previous, .. } = header.origin {
                        // The newest one counts: an older one was never named by a manifest.
                        cuts.insert(previous, number);
                    }
                    headers.insert(number, header);
                }
                Err(HeaderFault::Newer(found)) => {
                    return Err(StoreError::NewerFormat {
                        path,
                        found,
                        supported: 1,
                    });
                }
                // A damaged one is an error once something names it.
                Ok(_) | Err(HeaderFault::Damaged) => {}
            }
        }
        let newest_number = lengths
            .last_key_value()
            .map_or(plan.start, |(number, _)| *number);
        let place = Place {
            segment: plan.start,
            offset: FRAMES_OFFSET,
            chain: 0,
        };
        Ok(Self {
            plan,
            headers,
            lengths,
            cuts,
            end: LogEnd {
                last_lsn: plan.checkpoint,
                reached: plan.checkpoint,
                proven: plan.durable,
                proven_end: place,
                unproven: VecDeque::new(),
                segments: VecDeque::new(),
                obsolete,
                newest_number,
                transactions: 0,
                bytes: 0,
                bytes_cut: 0,
                unsynced_loss: None,
            },
            last: None,
            expected: None,
            place,
            reached_through: false,
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.plan.dir.join(segment::file_name(number))
    }

    fn corrupt(&self, number: u64, offset: u64, detail: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            file: self.path(number),
            offset,
            lsn: self.expected,
            detail: detail.into(),
        }
    }

    /// Checks how the segment follows what was read so far, and what LSN must come next.
    fn enter(&mut self, number: u64, by_salt: Option<u64>) -> Result<SegmentHeader> {
        let Some(header) = self.headers.get(&number).cloned() else {
            let there = self.lengths.contains_key(&number);
            let what = if there {
                "has a damaged header"
            } else {
                "is missing"
            };
            return Err(self.corrupt(number, 0, format!("this segment is needed, but it {what}")));
        };
        let length = self.lengths.get(&number).copied().unwrap_or(0);
        if length < header.capacity {
            let detail = format!(
                "the file has {length} bytes, it was made with {}",
                header.capacity
            );
            return Err(self.corrupt(number, length, detail));
        }
        if by_salt.is_some_and(|salt| salt != header.salt) {
            return Err(self.corrupt(
                number,
                40,
                "the segment before names this one by another salt",
            ));
        }
        let first = number == self.plan.start;
        match header.origin {
            Origin::Start { resumes_after } if first => self.last = Some(resumes_after),
            Origin::Cut { after, .. } if first => self.last = Some(after),
            Origin::Continuation if first || by_salt.is_some() => {}
            Origin::Cut {
                after,
                previous,
                end_offset,
                chain,
                ..
            } if by_salt.is_none() => {
                let cut = Place {
                    segment: previous,
                    offset: end_offset,
                    chain,
                };
                if self.last.is_some_and(|last| last != after) || self.place != cut {
                    return Err(self.corrupt(
                        number,
                        72,
                        "the segment before does not end where this one says",
                    ));
                }
                self.last = Some(after);
            }
            _ => {
                return Err(self.corrupt(
                    number,
                    64,
                    "this segment does not continue the one before",
                ));
            }
        }
        self.expected = self.last.map(Lsn::next);
        self.jump(&header);
        self.place = Place {
            segment: number,
            offset: FRAMES_OFFSET,
            chain: header.chain_seed(),
        };
        Ok(header)
    }

    /// After what recovery copied into a cut segment, LSNs go on where its header says: from there
    /// on that LSN is the last one before whatever follows, also in the next segment.
    fn jump(&mut self, header: &SegmentHeader) {
        match header.origin {
            Origin::Cut {
                copied,
                resumes_after,
                ..
            } if self.last == Some(copied) => {
                self.last = Some(resumes_after);
                self.expected = Some(resumes_after.next());
            }
            _ => {}
        }
    }

    fn segment(
        &mut self,
        number: u64,
        by_salt: Option<u64>,
        apply: &mut dyn FnMut(Lsn, Operation),
    ) -> Result<Next> {
        let header = self.enter(number, by_salt)?;
        if let Origin::Cut { copied, .. } = header.origin {
            self.promise(copied);
        }
        if by_salt.is_none() {
            // The first one, or one that recovery synced whole before it got its name.
            self.end.proven_end = self.place;
        }
        let length = self.lengths.get(&number).copied().unwrap_or(0);
        let path = self.path(number);
        let (bytes, _) = read_segment(self.plan.disk, &path, length)?;
        let cut = self.cuts.get(&number).and_then(|successor| {
            match self.headers.get(successor).map(|header| header.origin) {
                Some(Origin::Cut { end_offset, .. }) => Some((*successor, end_offset)),
                _ => None,
            }
        });
        loop {
            let offset = self.place.offset;
            if let Some((successor, end_offset)) = cut
                && offset >= end_offset
            {
                self.leave(number, length);
                return Ok(Next::Cut { successor });
            }
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = bytes.get(at..).unwrap_or_default();
            match frame::check_frame(rest, header.salt) {
                Ok(found) if self.follows(&found) => {
                    let body = frame::body_of(rest, &found);
                    self.take(&header, &found, &body, apply)?;
                    if found.kind == FrameKind::Seal && cut.is_none() {
                        let Some((successor, salt)) = frame::decode_successor(&body) else {
                            return Err(self.corrupt(
                                number,
                                offset,
                                "the seal names no successor",
                            ));
                        };
                        self.leave(number, length);
                        return Ok(Next::Sealed { successor, salt });
                    }
                }
                Err(FrameFault::NewerVersion(found)) => {
                    let found = u32::from(found).max(2);
                    return Err(StoreError::NewerFormat {
                        path,
                        found,
                        supported: 1,
                    });
                }
                outcome => {
                    if cut.is_some() {
                        let detail = "a frame is damaged that was proven durable before";
                        return Err(self.corrupt(number, offset, detail));
                    }
                    let fault = outcome.err().unwrap_or(FrameFault::BadField);
                    self.judge(number, &header, &bytes, fault)?;
                    self.leave(number, length);
                    return Ok(Next::End);
                }
            }
        }
    }

    fn follows(&self, found: &FrameHeader) -> bool {
        let in_order = match found.kind {
            FrameKind::Data => match self.expected {
                Some(expected) => found.first_lsn == expected,
                None => found.first_lsn <= self.plan.checkpoint.next(),
            },
            FrameKind::Heartbeat | FrameKind::Seal => {
                self.last.is_none_or(|last| found.first_lsn == last)
            }
        };
        in_order && found.chain == self.place.chain
    }

    fn take(
        &mut self,
        header: &SegmentHeader,
        found: &FrameHeader,
        body: &Bytes,
        apply: &mut dyn FnMut(Lsn, Operation),
    ) -> Result<()> {
        let checkpoint = self.plan.checkpoint;
        self.promise(found.durable_lsn);
        if found.kind == FrameKind::Data {
            let mut replay = |lsn, operation| {
                if lsn > checkpoint {
                    apply(lsn, operation);
                }
            };
            let records = frame::decode_body(body, found.first_lsn, &mut replay);
            let fault = match records {
                Ok(records) if records == found.count => None,
                Ok(_) => Some("the frame holds another number of records than it says".to_owned()),
                Err(fault) => Some(fault.to_string()),
            };
            if let Some(fault) = fault {
                return Err(self.corrupt(self.place.segment, self.place.offset, fault));
            }
            let last = found.last_lsn();
            let above = last
                .0
                .saturating_sub(checkpoint.0.max(found.first_lsn.0 - 1));
            self.end.transactions += above;
            self.end.last_lsn = self.end.last_lsn.max(last);
            let end = Place {
                segment: self.place.segment,
                offset: self.place.offset + found.frame_bytes(),
                chain: found.crc,
            };
            if last > self.end.proven {
                self.end.unproven.push_back(UnprovenFrame {
                    first_lsn: found.first_lsn,
                    last_lsn: last,
                    count: found.count,
                    body: body.clone(),
                    end,
                });
            } else {
                self.end.proven_end = end;
            }
            self.last = Some(last);
            self.expected = Some(last.next());
            self.jump(header);
        } else if self.last.is_none() {
            self.last = Some(found.first_lsn);
            self.expected = Some(found.first_lsn.next());
        }
        self.place.offset += found.frame_bytes();
        self.place.chain = found.crc;
        self.end.bytes += found.frame_bytes();
        Ok(())
    }

    /// Everything up to `durable` is proven; frames that were kept for copying are let go.
    fn promise(&mut self, durable: Lsn) {
        self.end.proven = self.end.proven.max(durable);
        let proven = self.end.proven;
        while let Some(frame) = self.end.unproven.pop_front_if(|f| f.last_lsn <= proven) {
            self.end.proven_end = frame.end;
        }
    }

    /// Judges the bytes at the current place, which are no frame that follows.
    fn judge(
        &mut self,
        number: u64,
        header: &SegmentHeader,
        bytes: &[u8],
        fault: FrameFault,
    ) -> Result<()> {
        let offset = self.place.offset;
        let behind = bytes
            .get(usize::try_from(offset).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let found = search(behind, header.salt);
        let mut promised = self.end.proven.max(found.promised);
        let mut later_segment_written = false;
        for (&later, later_header) in self.headers.range(number + 1..) {
            let length = self.lengths.get(&later).copied().unwrap_or(0);
            let (bytes, _) = read_segment(self.plan.disk, &self.path(later), length)?;
            let first = bytes.get(usize::try_from(FRAMES_OFFSET).unwrap_or(0)..);
            let later_found = search(first.unwrap_or_default(), later_header.salt);
            later_segment_written |= later_found.valid > 0;
            promised = promised.max(later_found.promised);
        }
        let expected = match self.expected {
            Some(expected) => expected,
            // The start of the log lies at or below the checkpoint; without one valid frame in
            // it nothing above the checkpoint can have been promised either.
            None => self.plan.checkpoint.next(),
        };
        self.expected = Some(expected);
        let verdict = damage::judge(Evidence {
            expected,
            promised_durable: promised,
            valid_behind: found.valid > 0,
            later_segment_written,
            same_boot: header.boot_id == self.plan.disk.boot_id(),
        });
        match verdict {
            Verdict::Corrupt(proof) => {
                Err(self.corrupt(number, offset, format!("{fault}; {proof}")))
            }
            Verdict::TornTail => {
                if behind.starts_with(&frame::MAGIC) && fault != FrameFault::ForeignSalt {
                    self.end.bytes_cut = found.extent;
                }
                Ok(())
            }
            Verdict::UnsyncedLoss => {
                self.end.bytes_cut = found.extent;
                self.end.unsynced_loss = Some(format!(
                    "the machine stopped before the log was synced: transactions from LSN {expected} on are lost ({} bytes from offset {offset} of {} are left out)",
                    found.extent,
                    self.path(number).display()
                ));
                Ok(())
            }
        }
    }

    fn leave(&mut self, number: u64, capacity: u64) {
        self.end.segments.push_back(SealedSegment {
            number,
            path: self.path(number),
            capacity,
            last_lsn: self.last.unwrap_or(Lsn::ZERO),
        });
    }

    fn finish(mut self) -> LogEnd {
        let visited: Vec<u64> = self
            .end
            .segments
            .iter()
            .map(|segment| segment.number)
            .collect();
        for (&number, &capacity) in self.lengths.range(self.plan.start..) {
            if !visited.contains(&number) {
                let path = self.path(number);
                let last_lsn = Lsn::ZERO;
                self.end.segments.push_back(SealedSegment {
                    number,
                    path,
                    capacity,
                    last_lsn,
                });
            }
        }
        self.end
            .segments
            .make_contiguous()
            .sort_by_key(|segment| segment.number);
        self.end.proven = self.end.proven.min(self.end.last_lsn);
        self.end.reached = self.last.unwrap_or(Lsn::ZERO).max(self.end.last_lsn);
        self.end
    }
}

struct Found {
    valid: u64,
    promised: Lsn,
    /// Bytes up to the end of the last valid frame, or of the magic at the start.
    extent: u64,
}

/// Looks for valid frames anywhere in `bytes`.
fn search(bytes: &[u8], salt: u64) -> Found {
    let mut found = Found {
        valid: 0,
        promised: Lsn::ZERO,
        extent: 0,
    };
    for at in memchr::memmem::find_iter(bytes, &frame::MAGIC) {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Ok(header) = frame::check_frame(rest, salt) {
            found.valid += 1;
            found.promised = found.promised.max(header.durable_lsn);
            found.extent = at as u64 + header.frame_bytes();
        } else if at == 0 {
            found.extent = frame::HEADER_BYTES as u64;
        }
    }
    found
}
