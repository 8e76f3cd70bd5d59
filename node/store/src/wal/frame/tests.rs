use super::*;

fn sample() -> Vec<u8> {
    let mut frame = empty_frame(0);
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    let gone = Bytes::from_static(b"gone");
    frame.extend(encode_transaction(
        [(&key, Some(&value))].into_iter(),
        &[(7, -1)],
        0,
    ));
    frame.extend(encode_transaction([(&gone, None)].into_iter(), &[], 0));
    seal_frame(
        &mut frame,
        FrameKind::Data,
        2,
        Lsn(40),
        Lsn(39),
        0xABCD,
        0x1234,
    );
    frame
}

#[test]
fn a_frame_comes_back_as_it_was_written() {
    let frame = sample();
    let header = check_frame(&frame, 0xABCD).unwrap();
    assert_eq!(header.frame_bytes(), frame.len() as u64);
    assert_eq!(
        (header.count, header.first_lsn, header.last_lsn()),
        (2, Lsn(40), Lsn(41))
    );
    assert_eq!((header.durable_lsn, header.chain), (Lsn(39), 0x1234));
    let mut seen = Vec::new();
    let records = decode_body(&body_of(&frame, &header), header.first_lsn, |lsn, op| {
        seen.push((lsn, op))
    });
    assert_eq!(records, Ok(2));
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from_static(b"value"));
    assert_eq!(
        seen,
        [
            (Lsn(40), Operation::Put { key, value }),
            (
                Lsn(40),
                Operation::Count {
                    counter: 7,
                    delta: -1
                }
            ),
            (
                Lsn(41),
                Operation::Delete {
                    key: Bytes::from_static(b"gone")
                }
            ),
        ]
    );
}

#[test]
fn the_bytes_are_those_of_version_1() {
    let expected = include_str!("../../../testdata/frame-v1.hex");
    let actual: String = sample().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        actual,
        expected.trim(),
        "a changed format needs a new version"
    );
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let frame = sample();
    for bit in 0..frame.len() * 8 {
        let mut damaged = frame.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(check_frame(&damaged, 0xABCD).is_err(), "bit {bit}");
    }
    for length in 0..frame.len() {
        assert!(
            check_frame(&frame[..length], 0xABCD).is_err(),
            "cut at {length}"
        );
    }
    assert_eq!(check_frame(&frame, 0xABCE), Err(FrameFault::ForeignSalt));
}

#[test]
fn a_body_with_lengths_beyond_its_end_is_refused() {
    let frame = sample();
    let header = check_frame(&frame, 0xABCD).unwrap();
    let body = body_of(&frame, &header);
    for length in 1..body.len() {
        let whole_record = 4 + u32_at(&body, 0).unwrap() as usize;
        let result = decode_body(&body.slice(..length), Lsn(1), |_, _| {});
        assert_eq!(result.is_ok(), length == whole_record, "cut at {length}");
    }
    let mut unknown = body.to_vec();
    unknown[4] = 2;
    let result = decode_body(&Bytes::from(unknown), Lsn(1), |_, _| {});
    assert_eq!(result, Err(BodyFault::UnknownRecord(2)));
}

#[test]
fn keys_and_values_are_shared_with_their_record() {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let writes = vec![
        (bytes("key"), Some(bytes("value"))),
        (bytes("gone"), None),
        (bytes("empty"), Some(Bytes::new())),
        (bytes("last"), Some(bytes("one"))),
    ];
    let encode = |writes: &[(Bytes, Option<Bytes>)]| {
        let pairs = writes.iter().map(|(key, value)| (key, value.as_ref()));
        Bytes::from(encode_transaction(pairs, &[(7, -1)], 0))
    };
    let record = encode(&writes);
    let mut shared = writes.clone();
    share_record(&record, &mut shared);
    assert_eq!(shared, writes);
    assert_eq!(encode(&shared), record);
    let within = record.as_ptr_range();
    for (key, value) in shared {
        assert!(within.contains(&key.as_ptr()));
        assert!(value.is_none_or(|v| v.is_empty() || within.contains(&v.as_ptr())));
    }
}
