//! What can be kept of the log: every frame that was in force, also behind damage.
//!
//! Where the log reads as it should, that is what counts, by the rules of an ordinary start. Where
//! it does not, frames are taken as they come: each one that matches its checksum with the salt of
//! its segment, with LSNs above those before it, outside of what a later recovery cut off. Holes
//! between their LSNs are what is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::{Loss, Lost};
use crate::disk::{Disk, OpenMode};
use crate::error::{Result, StoreError};
use crate::lsn::Lsn;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::wal::frame::{self, FrameHeader, FrameKind, Operation};
use crate::wal::reader::{self, ReadPlan};
use crate::wal::segment::{self, FRAMES_OFFSET, Origin, SegmentHeader, read_segment};

/// Where to look, and what is known.
pub(super) struct Plan<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) store_id: Option<u128>,
    pub(super) manifest: Option<&'a Manifest>,
    /// Transactions up to this LSN are in tables.
    pub(super) checkpoint: Lsn,
}

/// What is left of the log.
pub(super) struct LogSalvage {
    pub(super) memtable: Arc<Memtable>,
    pub(super) losses: Vec<Loss>,
    pub(super) notes: Vec<String>,
    pub(super) transactions: u64,
    /// The highest LSN that was seen anywhere, also where it does not count.
    pub(super) highest: Lsn,
    /// The highest number that a segment file has.
    pub(super) highest_number: u64,
    /// The store that the segments belong to.
    pub(super) store_id: Option<u128>,
}

/// One segment file.
struct Segment {
    path: PathBuf,
    length: u64,
    header: Option<SegmentHeader>,
}

pub(super) fn salvage(plan: &Plan<'_>) -> Result<LogSalvage> {
    let mut walk = Walk {
        plan,
        salvage: LogSalvage {
            memtable: Arc::new(Memtable::new()),
            losses: Vec::new(),
            notes: Vec::new(),
            transactions: 0,
            highest: Lsn::ZERO,
            highest_number: 0,
            store_id: plan.store_id,
        },
        last: plan.checkpoint,
        promised: plan.manifest.map_or(Lsn::ZERO, |manifest| manifest.durable),
        jump: None,
        gap: None,
        named: None,
    };
    let segments = walk.list()?;
    if let Some(manifest) = plan.manifest {
        let Some(start) = manifest.log_start else {
            return Ok(walk.salvage);
        };
        if !walk.by_the_rules(manifest, start) {
            walk.by_frames(&segments, start, manifest.log_through);
        }
    } else {
        walk.by_frames(&segments, 0, None);
    }
    Ok(walk.salvage)
}

struct Walk<'a> {
    plan: &'a Plan<'a>,
    salvage: LogSalvage,
    /// The last LSN that is accounted for.
    last: Lsn,
    promised: Lsn,
    /// In a segment that recovery made: the last LSN that it copied, and where LSNs go on.
    jump: Option<(Lsn, Lsn)>,
    /// Where something could not be read since the last good frame.
    gap: Option<(PathBuf, u64, u64)>,
    /// Number and salt of the segment that the last seal names.
    named: Option<(u64, u64)>,
}

impl Walk<'_> {
    fn note(&mut self, note: String) {
        self.salvage.notes.push(note);
    }

    fn saw(&mut self, lsn: Lsn) {
        self.salvage.highest = self.salvage.highest.max(lsn);
    }

    /// The segment files by their number: the one in the header, where it can be read.
    fn list(&mut self) -> Result<BTreeMap<u64, Segment>> {
        let names = match self.plan.disk.list(self.plan.dir) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(StoreError::io("list", self.plan.dir, &error)),
        };
        let mut numbers: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::parse_file_name(name))
            .collect();
        numbers.sort_unstable();
        let mut segments: BTreeMap<u64, Segment> = BTreeMap::new();
        for named in numbers {
            self.salvage.highest_number = self.salvage.highest_number.max(named);
            let path = self.plan.dir.join(segment::file_name(named));
            let (length, header) = match self.head(&path) {
                Ok(read) => read,
                Err(error) => {
                    self.note(format!("{} cannot be read: {error}", path.display()));
                    continue;
                }
            };
            let number = match &header {
                Some(header) if self.salvage.store_id.is_none_or(|id| id == header.store_id) => {
                    self.salvage.store_id = Some(header.store_id);
                    header.number
                }
                Some(_) => {
                    self.note(format!(
                        "{} belongs to another store and is left out",
                        path.display()
                    ));
                    continue;
                }
                None => named,
            };
            let segment = Segment {
                path: path.clone(),
                length,
                header,
            };
            if number == named {
                segments.insert(number, segment);
            } else if !names.contains(&segment::file_name(number)) {
                self.note(format!(
                    "{} was found under the name {}",
                    segment::file_name(number),
                    path.display()
                ));
                segments.entry(number).or_insert(segment);
            } else {
                // Two files were exchanged, or one is a copy: the file of that name may be whole.
                let other = self.plan.dir.join(segment::file_name(number));
                let whole = self.head(&other).ok().and_then(|(_, header)| header);
                if whole.is_none_or(|header| header.number != number) {
                    self.note(format!(
                        "{} was found under the name {}",
                        segment::file_name(number),
                        path.display()
                    ));
                    segments.insert(number, segment);
                }
            }
            self.salvage.highest_number = self.salvage.highest_number.max(number);
        }
        Ok(segments)
    }

    fn head(&self, path: &Path) -> std::io::Result<(u64, Option<SegmentHeader>)> {
        let file = self.plan.disk.open(path, OpenMode::Read)?;
        let length = file.len()?;
        let mut head = vec![0; usize::try_from(length.min(FRAMES_OFFSET)).unwrap_or(0)];
        file.read_exact_at(&mut head, 0)?;
        Ok((length, SegmentHeader::decode(&head).ok()))
    }

    /// Reads the log as a start does; false if it is damaged.
    fn by_the_rules(&mut self, manifest: &Manifest, start: u64) -> bool {
        let memtable = Memtable::new();
        let read = reader::read_log(
            &ReadPlan {
                disk: self.plan.disk,
                dir: self.plan.dir,
                store_id: manifest.store_id,
                start,
                through: manifest.log_through.filter(|through| *through >= start),
                checkpoint: manifest.checkpoint,
                durable: manifest.durable,
            },
            &mut |lsn, operation| apply(&memtable, lsn, operation),
            &mut |_, _, _| {},
        );
        let Ok(end) = read else {
            return false;
        };
        self.saw(end.reached);
        self.salvage.transactions = end.transactions;
        self.salvage.notes.extend(end.unsynced_loss);
        self.salvage.memtable = Arc::new(memtable);
        true
    }

    fn by_frames(&mut self, segments: &BTreeMap<u64, Segment>, start: u64, through: Option<u64>) {
        let mut cuts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for (number, segment) in segments.range(start..) {
            if let Some(SegmentHeader {
                origin:
                    Origin::Cut {
                        previous,
                        end_offset,
                        ..
                    },
                ..
            }) = segment.header
            {
                cuts.insert(previous, (*number, end_offset));
            }
        }
        let is_missing = |number: u64| number > 0 && !segments.contains_key(&number);
        let path = |number| self.plan.dir.join(segment::file_name(number));
        let mut missing: BTreeMap<u64, PathBuf> = [start, through.unwrap_or(0)]
            .into_iter()
            .filter(|number| is_missing(*number))
            .map(|number| (number, path(number)))
            .collect();
        let mut from = start;
        while let Some((number, segment)) = segments.range(from..).next() {
            let later = missing.split_off(number);
            for path in std::mem::replace(&mut missing, later).into_values() {
                self.open_gap(&path, 0, 0);
            }
            let cut = cuts.get(number).copied();
            self.segment(*number, segment, cut.map(|(_, end_offset)| end_offset));
            if let Some((named, _)) = self.named.filter(|(named, _)| is_missing(*named)) {
                let path = self.plan.dir.join(segment::file_name(named));
                missing.insert(named, path);
            }
            // What lies between a segment and the one that cuts it counts no longer.
            from = cut.map_or(number + 1, |(successor, _)| successor.max(number + 1));
        }
        for path in missing.into_values() {
            self.open_gap(&path, 0, 0);
        }
        self.end();
    }

    fn segment(&mut self, number: u64, segment: &Segment, end_offset: Option<u64>) {
        let Ok((bytes, _)) = read_segment(self.plan.disk, &segment.path, segment.length) else {
            self.note(format!("{} cannot be read", segment.path.display()));
            self.open_gap(&segment.path, 0, segment.length);
            return;
        };
        let counted = end_offset.unwrap_or(segment.length).min(segment.length);
        let counted = usize::try_from(counted).unwrap_or(usize::MAX);
        let bytes = bytes.get(..counted).unwrap_or(&bytes);
        let at = usize::try_from(FRAMES_OFFSET).unwrap_or(usize::MAX);
        let salt = match &segment.header {
            Some(header) => {
                self.enter(header, number);
                Some(header.salt)
            }
            None => self.salt_without_header(number, bytes.get(at..).unwrap_or_default()),
        };
        let Some(salt) = salt else {
            self.open_gap(&segment.path, 0, segment.length);
            return;
        };
        let mut at = at;
        let mut seen_frame = segment.header.is_some();
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Ok(found) = frame::check_frame(rest, salt) {
                seen_frame = true;
                self.frame(segment, at as u64, rest, &found);
                // A frame that matches lies within the bytes.
                at += usize::try_from(found.frame_bytes()).unwrap_or(usize::MAX);
                continue;
            }
            let next = memchr::memmem::find_iter(rest, &frame::MAGIC)
                .filter(|ahead| *ahead > 0)
                .find(|ahead| {
                    let there = rest.get(*ahead..).unwrap_or_default();
                    frame::check_frame(there, salt).is_ok()
                });
            let written = rest
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |n| n + 1);
            match next {
                Some(ahead) => {
                    self.open_gap(&segment.path, at as u64, ahead as u64);
                    at += ahead;
                }
                None => {
                    // Behind the end of a segment that is in use again lies what it held before.
                    if rest.starts_with(&frame::MAGIC) && frame::salt_of(rest) == Some(salt) {
                        self.open_gap(&segment.path, at as u64, written as u64);
                    }
                    break;
                }
            }
        }
        let whole = segment.header.as_ref().map(|header| header.capacity);
        if !seen_frame || whole.is_some_and(|whole| segment.length < whole) {
            let end = at as u64;
            let missing = whole.unwrap_or(segment.length).saturating_sub(end);
            self.open_gap(&segment.path, end.min(segment.length), missing);
        }
    }

    fn open_gap(&mut self, path: &Path, offset: u64, bytes: u64) {
        if self.gap.is_none() {
            self.gap = Some((path.to_path_buf(), offset, bytes));
        }
    }

    fn enter(&mut self, header: &SegmentHeader, number: u64) {
        self.jump = None;
        match header.origin {
            Origin::Start { resumes_after } => {
                self.saw(resumes_after);
                // A log is begun anew only where a checkpoint has passed what came before it; one
                // that the manifest does not name was not begun yet.
                let manifest = self.plan.manifest;
                if manifest.is_none_or(|manifest| manifest.log_start == Some(number)) {
                    self.last = self.last.max(resumes_after);
                    self.gap = None;
                }
            }
            Origin::Cut {
                copied,
                resumes_after,
                ..
            } => {
                self.saw(resumes_after.max(copied));
                self.promised = self.promised.max(copied);
                self.jump = Some((copied, resumes_after));
            }
            Origin::Continuation => {}
        }
        self.leap();
    }

    /// Takes the step over LSNs that were never given out, once all before it is there.
    fn leap(&mut self) {
        if let Some((copied, resumes_after)) = self.jump
            && self.last >= copied
        {
            self.last = self.last.max(resumes_after);
            self.jump = None;
        }
    }

    /// The salt of a segment whose header is damaged: from the seal before it, or from its first
    /// frame if that leaves no hole. Frames of an earlier use of the file are below every
    /// checkpoint since then, so they change nothing.
    fn salt_without_header(&self, number: u64, frames: &[u8]) -> Option<u64> {
        if let Some((named, salt)) = self.named
            && named == number
        {
            return Some(salt);
        }
        let salt = frame::salt_of(frames)?;
        let first = frame::check_frame(frames, salt).ok()?;
        (first.first_lsn <= self.last.next()).then_some(salt)
    }

    fn frame(&mut self, segment: &Segment, offset: u64, bytes: &[u8], found: &FrameHeader) {
        self.saw(found.durable_lsn);
        self.saw(found.last_lsn());
        self.promised = self.promised.max(found.durable_lsn);
        match found.kind {
            FrameKind::Data => self.data(segment, offset, found, &frame::body_of(bytes, found)),
            FrameKind::Heartbeat | FrameKind::Seal => {
                self.missing_before(segment, offset, found.first_lsn.next());
                if found.kind == FrameKind::Seal {
                    self.named = frame::decode_successor(&frame::body_of(bytes, found));
                }
            }
        }
    }

    fn data(&mut self, segment: &Segment, offset: u64, found: &FrameHeader, body: &Bytes) {
        let last = found.last_lsn();
        if last <= self.last {
            return;
        }
        self.missing_before(segment, offset, found.first_lsn);
        let above = self.last;
        let mut operations = Vec::new();
        let decoded = frame::decode_body(body, found.first_lsn, |lsn, operation| {
            if lsn > above {
                operations.push((lsn, operation));
            }
        });
        if decoded != Ok(found.count) {
            self.salvage.losses.push(Loss {
                file: segment.path.clone(),
                offset,
                bytes: found.frame_bytes(),
                what: Lost::Transactions {
                    first: above.next(),
                    last,
                },
            });
        } else {
            for (lsn, operation) in operations {
                apply(&self.salvage.memtable, lsn, operation);
            }
            self.salvage.transactions += last.0 - above.0;
        }
        self.last = last;
        self.leap();
    }

    /// Notes what is lost between the last LSN and `next`, which `segment` has at `offset`.
    fn missing_before(&mut self, segment: &Segment, offset: u64, next: Lsn) {
        let here = || (segment.path.clone(), offset, 0);
        if let Some((copied, resumes_after)) = self.jump
            && next > resumes_after
        {
            let (file, at, bytes) = self.gap.clone().unwrap_or_else(here);
            self.lose(file, at, bytes, copied);
            self.last = self.last.max(resumes_after);
            self.jump = None;
        }
        let before = Lsn(next.0.saturating_sub(1));
        let (file, at, bytes) = self.gap.take().unwrap_or_else(here);
        self.lose(file, at, bytes, before);
        self.last = self.last.max(before);
    }

    fn lose(&mut self, file: PathBuf, offset: u64, bytes: u64, last: Lsn) {
        if last > self.last {
            self.salvage.losses.push(Loss {
                file,
                offset,
                bytes,
                what: Lost::Transactions {
                    first: self.last.next(),
                    last,
                },
            });
        }
    }

    fn end(&mut self) {
        let gap = self.gap.take();
        if self.promised > self.last {
            let nowhere = || (self.plan.dir.to_path_buf(), 0, 0);
            let (file, offset, bytes) = gap.unwrap_or_else(nowhere);
            self.lose(file, offset, bytes, self.promised);
        } else if let Some((file, offset, bytes)) = gap {
            self.salvage.losses.push(Loss {
                file,
                offset,
                bytes,
                what: Lost::Tail { after: self.last },
            });
        }
    }
}

fn apply(memtable: &Memtable, lsn: Lsn, operation: Operation) {
    match operation {
        Operation::Put { key, value } => memtable.insert(key, lsn, Some(value)),
        Operation::Delete { key } => memtable.insert(key, lsn, None),
        Operation::Count { counter, delta } => memtable.applied(lsn, &[(counter, delta)]),
    }
}
