//! Numbers by their exact decimal value, of any size.

use std::borrow::Cow;

/// Exponents up to this many digits are computed with; longer ones are compared as text. Far from
/// the edge of `i128`, so that adding the length of a document never overflows.
const EXPONENT_DIGITS: usize = 30;

/// Whether two number texts have the same value: `30`, `30.0` and `3e1` do.
#[must_use]
pub fn same_number(a: &[u8], b: &[u8]) -> bool {
    a == b || Decimal::parse(a) == Decimal::parse(b)
}

/// A number as ±0.d₁d₂d₃… × 10^exponent, where d₁ is not 0, and neither is the last digit.
/// Zero has no digits and no sign.
#[derive(Clone, Debug)]
pub(crate) struct Decimal<'a> {
    pub(crate) negative: bool,
    /// The digits before and behind the point.
    digits: (&'a [u8], &'a [u8]),
    pub(crate) exponent: Exponent<'a>,
}

#[derive(Clone, Debug)]
pub(crate) enum Exponent<'a> {
    Small(i128),
    /// `digits` in decimal, to which `shift` is to be added.
    Huge {
        negative: bool,
        digits: &'a [u8],
        shift: i128,
    },
}

impl<'a> Decimal<'a> {
    /// The value of a validated number.
    pub(crate) fn parse(text: &'a [u8]) -> Self {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match memchr::memchr2(b'e', b'E', unsigned) {
            Some(at) => (
                unsigned.get(..at).unwrap_or_default(),
                unsigned.get(at + 1..).unwrap_or_default(),
            ),
            None => (unsigned, &[][..]),
        };
        let (whole, fraction) = match memchr::memchr(b'.', mantissa) {
            Some(at) => (
                mantissa.get(..at).unwrap_or_default(),
                mantissa.get(at + 1..).unwrap_or_default(),
            ),
            None => (mantissa, &[][..]),
        };
        let shift = whole.len();
        let head = trim_start(whole);
        let (head, tail, leading_zeros) = if head.is_empty() {
            let tail = trim_start(fraction);
            (head, tail, shift + fraction.len() - tail.len())
        } else {
            (head, fraction, shift - head.len())
        };
        let tail = trim_end(tail);
        let head = if tail.is_empty() {
            trim_end(head)
        } else {
            head
        };
        if head.is_empty() && tail.is_empty() {
            return Self {
                negative: false,
                digits: (&[], &[]),
                exponent: Exponent::Small(0),
            };
        }
        Self {
            negative,
            digits: (head, tail),
            exponent: Exponent::parse(exponent, shift as i128 - leading_zeros as i128),
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.0.is_empty() && self.digits.1.is_empty()
    }

    /// The significant digits, as ASCII.
    pub(crate) fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.digits.0.iter().chain(self.digits.1).copied()
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.negative == other.negative
            && self.exponent == other.exponent
            && self.digits().eq(other.digits())
    }
}

impl<'a> Exponent<'a> {
    /// The exponent as written, possibly nothing, moved by `shift`.
    fn parse(text: &'a [u8], shift: i128) -> Self {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let digits = trim_start(digits);
        if digits.len() > EXPONENT_DIGITS {
            return Exponent::Huge {
                negative,
                digits,
                shift,
            };
        }
        let magnitude = digits.iter().fold(0, |value: i128, digit| {
            value * 10 + i128::from(digit.wrapping_sub(b'0'))
        });
        Exponent::Small(shift + if negative { -magnitude } else { magnitude })
    }

    /// Sign and decimal digits of a huge exponent. The shift is far too small to change the sign.
    fn huge_text(negative: bool, digits: &[u8], shift: i128) -> (bool, Vec<u8>) {
        let mut carry = if negative { -shift } else { shift };
        let mut sum: Vec<u8> = digits.to_vec();
        for digit in sum.iter_mut().rev() {
            let value = i128::from(digit.wrapping_sub(b'0')) + carry;
            carry = value.div_euclid(10);
            *digit = b'0' + u8::try_from(value.rem_euclid(10)).unwrap_or_default();
        }
        if carry > 0 {
            sum.splice(..0, carry.to_string().bytes());
        }
        let zeros = sum.len() - trim_start(&sum).len();
        sum.drain(..zeros);
        (negative, sum)
    }
}

impl PartialEq for Exponent<'_> {
    fn eq(&self, other: &Self) -> bool {
        let text = |exponent: &Self| -> (bool, Cow<'_, [u8]>) {
            match *exponent {
                Exponent::Small(value) => (
                    value < 0,
                    Cow::Owned(value.unsigned_abs().to_string().into_bytes()),
                ),
                Exponent::Huge {
                    negative,
                    digits,
                    shift,
                } => {
                    let (negative, sum) = Self::huge_text(negative, digits, shift);
                    (negative, Cow::Owned(sum))
                }
            }
        };
        match (self, other) {
            (Exponent::Small(a), Exponent::Small(b)) => a == b,
            _ => text(self) == text(other),
        }
    }
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

fn trim_end(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|d| **d == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}
