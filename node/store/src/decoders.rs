//! Every decoder of the store as a function of any bytes, for the fuzzer (feature `fuzz`). None may
//! panic, whatever it gets, or allocate by a length that it only read; what decodes must come back
//! from its encoder. Bytes are tried as they are and with their checksum made right, because
//! otherwise nearly nothing would come behind it.

use std::path::Path;

use bytes::Bytes;

use crate::codec::Reader;
use crate::lsn::Lsn;
use crate::manifest::Manifest;
use crate::recovery::identity;
use crate::table::TableMeta;
use crate::table::block::Block;
use crate::table::filter::{Filter, KeyHash};
use crate::table::footer::Footer;
use crate::table::index::Index;
use crate::table::section::{self, Place};
use crate::wal::frame;
use crate::wal::segment::SegmentHeader;

/// A decoder by name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 10] = [
    ("frame", frame),
    ("segment-header", segment_header),
    ("manifest", manifest),
    ("table-meta", table_meta),
    ("store-id", store_id),
    ("section", section),
    ("block", block),
    ("footer", footer),
    ("filter", filter),
    ("index", index),
];

/// `data` with the crc32 over all before its last four bytes there.
fn with_trailing_crc(data: &[u8]) -> Vec<u8> {
    let body = data.get(..data.len().saturating_sub(4)).unwrap_or_default();
    let mut out = body.to_vec();
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out
}

fn frame(data: &[u8]) {
    let salt = frame::salt_of(data).unwrap_or(0);
    one_frame(data, salt);
    // As a whole frame around the data, whose first bytes choose kind and LSNs.
    let Some((fields, body)) = data.split_first_chunk::<10>() else {
        return;
    };
    let [kind, count, first @ ..] = *fields;
    let mut made = frame::empty_frame(body.len());
    made.extend_from_slice(body);
    let kind = match kind % 3 {
        0 => frame::FrameKind::Data,
        1 => frame::FrameKind::Heartbeat,
        _ => frame::FrameKind::Seal,
    };
    let first = Lsn(u64::from_le_bytes(first));
    frame::seal_frame(&mut made, kind, u32::from(count), first, first, 7, 9);
    one_frame(&made, 7);
}

fn one_frame(data: &[u8], salt: u64) {
    let Ok(header) = frame::check_frame(data, salt) else {
        return;
    };
    assert!(header.frame_bytes() <= data.len() as u64);
    assert!(header.last_lsn() >= header.first_lsn);
    let body = frame::body_of(data, &header);
    assert_eq!(body.len(), header.body_bytes as usize);
    let _ = frame::decode_successor(&body);
    let mut operations = 0;
    let _ = frame::decode_body(&body, header.first_lsn, |_, _| operations += 1);
    assert!(operations <= body.len());
}

fn segment_header(data: &[u8]) {
    for bytes in [data.to_vec(), with_trailing_crc(data)] {
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }
}

fn manifest(data: &[u8]) {
    let path = Path::new("MANIFEST");
    for bytes in [data.to_vec(), with_trailing_crc(data)] {
        if let Ok(manifest) = Manifest::decode(&bytes, path) {
            let again = Manifest::decode(&manifest.encode(), path);
            assert!(again.is_ok_and(|again| again == manifest));
        }
    }
}

fn table_meta(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(meta) = TableMeta::decode(&mut reader) {
        let mut encoded = Vec::new();
        meta.encode(&mut encoded);
        assert_eq!(encoded.len(), reader.offset());
        assert!(data.starts_with(&encoded));
    }
}

fn store_id(data: &[u8]) {
    for bytes in [data.to_vec(), with_trailing_crc(data)] {
        if let Ok(id) = identity::decode(&bytes, Path::new(identity::FILE_NAME)) {
            assert_eq!(identity::encode(id), bytes);
        }
    }
}

fn section(data: &[u8]) {
    const MOST: usize = 1 << 16;
    let place = Place {
        table: 3,
        offset: 4096,
    };
    let mut made = data.to_vec();
    if let Some((crc, covered)) = made.split_first_chunk_mut::<4>() {
        *crc = place.checksum(covered).to_le_bytes();
    }
    for bytes in [data.to_vec(), made] {
        let _ = section::payload_length(&bytes, place, 0);
        let stored = Bytes::from(bytes);
        if let Ok(content) = section::open(&stored, place, MOST) {
            assert!(content.len() <= MOST);
            let bounds = section::payload_bounds(&stored, MOST);
            assert!(bounds.is_some());
        }
    }
}

fn block(data: &[u8]) {
    let Ok(block) = Block::new(Bytes::copy_from_slice(data)) else {
        return;
    };
    let mut entries = Vec::new();
    for interval in 0..block.intervals() {
        if block.decode_interval(interval, &mut entries).is_err() {
            continue;
        }
        for entry in &entries {
            let _ = block.get(&entry.key, entry.lsn);
            let _ = block.interval_before(&entry.key);
            let _ = block.interval_up_to(&entry.key);
        }
    }
    let _ = block.get(b"key", Lsn::MAX);
}

fn footer(data: &[u8]) {
    for bytes in [data.to_vec(), with_trailing_crc(data)] {
        if let Ok((footer, checksum)) = Footer::decode(&bytes, Path::new("table"), 0) {
            let mut encoded = Vec::new();
            assert_eq!(footer.encode(&mut encoded), checksum);
            assert_eq!(encoded, bytes);
        }
    }
}

fn filter(data: &[u8]) {
    if let Ok(filter) = Filter::decode(&Bytes::copy_from_slice(data)) {
        for key in [&b""[..], b"key", data] {
            let _ = filter.may_contain(KeyHash::of(key));
        }
    }
}

fn index(data: &[u8]) {
    let (end, content) = data.split_first_chunk::<4>().unwrap_or((&[0; 4], data));
    let content = Bytes::copy_from_slice(content);
    if let Ok(index) = Index::decode(&content, u64::from(u32::from_le_bytes(*end))) {
        assert!(index.len() <= content.len());
        for key in [&b""[..], b"key", index.smallest(), index.largest()] {
            let found = index.find(key, Lsn(5));
            assert!(index.handle(found).is_some());
            let _ = index.continues(found, key);
        }
    }
}
