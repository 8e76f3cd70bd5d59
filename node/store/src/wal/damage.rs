//! Torn tail or corruption: the verdict on the first bytes of a log that are not a valid frame,
//! and its proof. Pure.

use crate::lsn::Lsn;

/// What is known about the place where reading stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    /// The LSN that the missing frame would begin with.
    pub(crate) expected: Lsn,
    /// The newest durable LSN that the manifest or any valid frame, also one behind this place,
    /// promises.
    pub(crate) promised_durable: Lsn,
    /// Whether a valid frame lies behind this place.
    pub(crate) valid_behind: bool,
    /// Whether a later segment holds a valid frame: this segment was synced whole before that.
    pub(crate) later_segment_written: bool,
    /// Whether the machine has not restarted since the segment was made ready.
    pub(crate) same_boot: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A write that was never finished and never acknowledged as durable: cut it off.
    TornTail,
    /// The machine restarted and what was not synced is partly gone: stop before it, replay
    /// nothing behind it.
    UnsyncedLoss,
    /// Something durable is gone: refuse to start.
    Corrupt(&'static str),
}

/// The tail rule.
pub(crate) fn judge(evidence: Evidence) -> Verdict {
    if evidence.promised_durable >= evidence.expected {
        return Verdict::Corrupt("this frame was promised to be durable");
    }
    if evidence.later_segment_written {
        return Verdict::Corrupt(
            "a later segment was written to, so this one had been synced whole",
        );
    }
    match (evidence.valid_behind, evidence.same_boot) {
        (false, _) => Verdict::TornTail,
        (true, false) => Verdict::UnsyncedLoss,
        (true, true) => Verdict::Corrupt(
            "valid frames follow, and the machine has not restarted since they were written",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_cases_of_the_tail_rule() {
        let evidence = Evidence {
            expected: Lsn(10),
            promised_durable: Lsn(9),
            valid_behind: false,
            later_segment_written: false,
            same_boot: true,
        };
        assert_eq!(judge(evidence), Verdict::TornTail);
        let behind = Evidence {
            valid_behind: true,
            ..evidence
        };
        assert!(matches!(judge(behind), Verdict::Corrupt(_)));
        assert_eq!(
            judge(Evidence {
                same_boot: false,
                ..behind
            }),
            Verdict::UnsyncedLoss
        );
        let sealed = Evidence {
            later_segment_written: true,
            same_boot: false,
            ..behind
        };
        assert!(matches!(judge(sealed), Verdict::Corrupt(_)));
        for same_boot in [false, true] {
            for valid_behind in [false, true] {
                let promised_durable = Lsn(10);
                let proven = Evidence {
                    promised_durable,
                    valid_behind,
                    same_boot,
                    ..evidence
                };
                assert!(matches!(judge(proven), Verdict::Corrupt(_)), "{proven:?}");
            }
        }
    }
}
