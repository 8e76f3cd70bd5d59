//! Scalar values as bytes that sort as the values do: null < false < true < numbers < strings.
//!
//! ```text
//! 10                                   null
//! 20 | 21                              false | true
//! 30 ~(exponent digits end)            a negative number: the bits of a positive one inverted
//! 31                                   zero
//! 32 exponent digits end               a positive number, 0.d₁d₂d₃… × 10^exponent
//! 40 text end                          a string
//!
//! exponent    80+n, then n bytes of magnitude, big-endian      0 or positive, n = 0..=16
//!             80-n, then n bytes of it inverted                negative
//!             FE | 01                                          more than 30 decimal digits
//! digits      pairs d₁d₂ as 02 + value, the last padded with 0
//! end         00 exact | 01 cut after 256 pairs, or exponent FE or 01 (then without digits)
//! text        at most 256 bytes of UTF-8, 00 as 00 FF
//! end         00 01 exact | 00 02 cut
//! ```
//! Equal values have equal bytes, and no encoding is the beginning of another one. Of values that
//! are *cut* several share one encoding, which still lies where all of them belong; who looks such
//! a value up looks at the document too. Arrays and objects have no encoding.

use crate::json::{Decimal, Exponent, Kind, RawStr};
use crate::limits::MAX_INDEXED_BYTES;

const NULL: u8 = 0x10;
const FALSE: u8 = 0x20;
const TRUE: u8 = 0x21;
const NEGATIVE: u8 = 0x30;
const ZERO: u8 = 0x31;
const POSITIVE: u8 = 0x32;
const STRING: u8 = 0x40;

const EXPONENT_ZERO: u8 = 0x80;
const EXPONENT_HUGE: u8 = 0xFE;
const EXPONENT_TINY: u8 = 0x01;
const FIRST_PAIR: u8 = 0x02;
const NUMBER_EXACT: u8 = 0x00;
const NUMBER_CUT: u8 = 0x01;
const STRING_EXACT: [u8; 2] = [0, 1];
const STRING_CUT: [u8; 2] = [0, 2];
const STRING_ZERO: [u8; 2] = [0, 0xFF];

/// Whether an encoding says all there is to say of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// Only this value has this encoding.
    Exact,
    /// Other values may have it too.
    Cut,
}

/// Appends the encoding of a validated scalar; nothing for an array or object.
pub(crate) fn encode(raw: &[u8], out: &mut Vec<u8>) -> Option<Precision> {
    match Kind::of(raw)? {
        Kind::Null => out.push(NULL),
        Kind::Bool => out.push(if raw == b"true" { TRUE } else { FALSE }),
        Kind::Number => return Some(encode_number(raw, out)),
        Kind::String => return Some(encode_text(RawStr::of(raw)?.decode().as_bytes(), out)),
        Kind::Array | Kind::Object => return None,
    }
    Some(Precision::Exact)
}

/// Appends the encoding of a string, given as its text.
pub(crate) fn encode_text(text: &[u8], out: &mut Vec<u8>) -> Precision {
    let kept = text.get(..MAX_INDEXED_BYTES).unwrap_or(text);
    out.push(STRING);
    let mut rest = kept;
    while let Some(zero) = memchr::memchr(0, rest) {
        let (plain, behind) = rest.split_at(zero);
        out.extend_from_slice(plain);
        out.extend(STRING_ZERO);
        rest = behind.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    if kept.len() == text.len() {
        out.extend(STRING_EXACT);
        Precision::Exact
    } else {
        out.extend(STRING_CUT);
        Precision::Cut
    }
}

fn encode_number(text: &[u8], out: &mut Vec<u8>) -> Precision {
    let number = Decimal::parse(text);
    if number.is_zero() {
        out.push(ZERO);
        return Precision::Exact;
    }
    out.push(if number.negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    let precision = encode_magnitude(&number, out);
    if number.negative {
        for byte in out.iter_mut().skip(start) {
            *byte = !*byte;
        }
    }
    precision
}

fn encode_magnitude(number: &Decimal<'_>, out: &mut Vec<u8>) -> Precision {
    match number.exponent {
        Exponent::Small(exponent) => encode_exponent(exponent, out),
        Exponent::Huge { negative, .. } => {
            let marker = if negative {
                EXPONENT_TINY
            } else {
                EXPONENT_HUGE
            };
            out.extend([marker, NUMBER_CUT]);
            return Precision::Cut;
        }
    }
    let mut digits = number.digits().map(|digit| digit.wrapping_sub(b'0'));
    for _ in 0..MAX_INDEXED_BYTES {
        let Some(tens) = digits.next() else {
            break;
        };
        out.push(FIRST_PAIR + tens * 10 + digits.next().unwrap_or(0));
    }
    if digits.next().is_none() {
        out.push(NUMBER_EXACT);
        Precision::Exact
    } else {
        out.push(NUMBER_CUT);
        Precision::Cut
    }
}

fn encode_exponent(exponent: i128, out: &mut Vec<u8>) {
    let magnitude = exponent.unsigned_abs().to_be_bytes();
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let significant = magnitude.iter().skip(zeros);
    // At most 16, so neither marker of an exponent out of range is reached.
    let count = u8::try_from(magnitude.len() - zeros).unwrap_or(16);
    if exponent < 0 {
        out.push(EXPONENT_ZERO - count);
        out.extend(significant.map(|byte| !byte));
    } else {
        out.push(EXPONENT_ZERO + count);
        out.extend(significant);
    }
}

/// Length of the encoding that `bytes` begin with, so that what follows it can be read.
pub(crate) fn encoded_len(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        &NULL | &FALSE | &TRUE | &ZERO => Some(1),
        &POSITIVE => number_len(bytes, 0),
        &NEGATIVE => number_len(bytes, 0xFF),
        &STRING => {
            let mut at = 1;
            loop {
                at += memchr::memchr(0, bytes.get(at..)?)? + 2;
                if bytes.get(at - 2..at)? != STRING_ZERO.as_slice() {
                    return Some(at);
                }
            }
        }
        _ => None,
    }
}

/// `invert` undoes the inversion of a negative number.
fn number_len(bytes: &[u8], invert: u8) -> Option<usize> {
    let marker = bytes.get(1)? ^ invert;
    let exponent_bytes = match marker {
        EXPONENT_HUGE | EXPONENT_TINY => 0,
        marker => usize::from(marker.abs_diff(EXPONENT_ZERO)),
    };
    let digits = bytes.get(2 + exponent_bytes..)?;
    let pairs = digits
        .iter()
        .position(|byte| (byte ^ invert) < FIRST_PAIR)?;
    Some(2 + exponent_bytes + pairs + 1)
}
