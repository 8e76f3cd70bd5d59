use super::*;
use http_body_util::Full;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

const TIMES: BodyTimes = BodyTimes {
    piece: Duration::from_secs(30),
    whole: Duration::from_secs(300),
};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn path_parameters_are_any_utf8() {
    for (raw, decoded) in [
        ("plain", "plain"),
        ("a%2Fb", "a/b"),
        ("%E2%82%AC", "€"),
        ("a+b", "a+b"),
        ("%00", "\0"),
        ("é", "é"),
    ] {
        assert_eq!(path_parameter(raw).unwrap(), decoded);
    }
    for raw in ["%", "%2", "%zz", "%ff", "%E2%82", "a%2Fb%"] {
        assert_eq!(
            path_parameter(raw).unwrap_err().kind,
            Kind::InvalidRequest,
            "{raw}"
        );
    }
}

#[test]
fn query_pairs_keep_order_and_repetition() {
    let pairs = query_pairs(Some("a=1&b=x+y&a=%32&&c&=d&e=f=g")).unwrap();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("a", "1"),
            ("b", "x y"),
            ("a", "2"),
            ("c", ""),
            ("", "d"),
            ("e", "f=g")
        ]
    );
    assert!(query_pairs(Some("a=%f")).is_err());
    assert!(query_pairs(None).unwrap().is_empty());
}

#[test]
fn only_json_is_taken_for_json() {
    for value in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;x=y",
    ] {
        assert_eq!(
            require_json(&headers(&[("content-type", value)])),
            Ok(()),
            "{value}"
        );
    }
    assert_eq!(require_json(&HeaderMap::new()), Ok(()));
    for value in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "application/json-patch+json",
        "",
    ] {
        let refusal = require_json(&headers(&[("content-type", value)])).unwrap_err();
        assert_eq!(refusal.kind, Kind::UnsupportedMediaType, "{value}");
    }
    assert!(require_json(&headers(&[("content-encoding", "gzip")])).is_err());
}

#[test]
fn preconditions_that_are_not_honoured_are_refused() {
    assert_eq!(creates_only(&HeaderMap::new()), Ok(false));
    assert_eq!(creates_only(&headers(&[("if-none-match", "*")])), Ok(true));
    assert!(creates_only(&headers(&[("if-none-match", "\"7\"")])).is_err());
    assert!(creates_only(&headers(&[("if-match", "*")])).is_err());
}

/// A body without a length, in pieces.
struct Pieces(std::collections::VecDeque<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn chunked(pieces: usize, piece_bytes: usize) -> Pieces {
    Pieces(vec![Bytes::from(vec![b' '; piece_bytes]); pieces].into())
}

#[tokio::test]
async fn the_limit_holds_for_chunked_bodies_too() {
    let budget = Arc::new(Semaphore::new(BODY_BUDGET_UNITS));
    let none = HeaderMap::new();
    let piece = 1 << 20;
    let at_limit = read_body(&none, chunked(16, piece), &budget, TIMES)
        .await
        .unwrap();
    assert_eq!(at_limit.bytes.len(), MAX_BODY_BYTES);
    assert!(budget.available_permits() < BODY_BUDGET_UNITS);
    drop(at_limit);
    let above = read_body(&none, chunked(17, piece), &budget, TIMES)
        .await
        .unwrap_err();
    assert_eq!(above.kind, Kind::TooLarge);
    let announced = headers(&[("content-length", "16777217")]);
    let refused = read_body(&announced, chunked(0, 0), &budget, TIMES)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, Kind::TooLarge);
    assert_eq!(budget.available_permits(), BODY_BUDGET_UNITS);
}

#[tokio::test]
async fn pieces_are_joined_in_order() {
    let budget = Arc::new(Semaphore::new(BODY_BUDGET_UNITS));
    let none = HeaderMap::new();
    let whole = read_body(&none, Full::new(Bytes::from_static(b"abc")), &budget, TIMES);
    assert_eq!(whole.await.unwrap().bytes, "abc");
    let empty = read_body(&none, chunked(0, 0), &budget, TIMES);
    assert_eq!(empty.await.unwrap().bytes, "");
    let pieces = [Bytes::from("ab"), Bytes::from("cd"), Bytes::from("ef")];
    let body = Pieces(pieces.into_iter().collect());
    let joined = read_body(&none, body, &budget, TIMES).await.unwrap();
    assert_eq!(joined.bytes, "abcdef");
}
