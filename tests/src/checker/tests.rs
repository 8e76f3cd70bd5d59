//! Histories by hand: those that are fine, and one for each anomaly, which must be found.

use super::*;

/// An operation of `session` that took from `start` to `end`, without anything done.
fn op(session: usize, start: u64, end: u64) -> Operation {
    Operation {
        session,
        start,
        end,
        outcome: Outcome::Done(None),
        reads: Vec::new(),
        changes: Vec::new(),
    }
}

impl Operation {
    fn lsn(mut self, lsn: u64) -> Self {
        self.outcome = Outcome::Done(Some(lsn));
        self
    }

    fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    fn sees(mut self, key: &str, list: &[Element]) -> Self {
        self.reads.push((key.to_owned(), Seen::List(list.to_vec())));
        self
    }

    fn misses(mut self, key: &str) -> Self {
        self.reads.push((key.to_owned(), Seen::Absent));
        self
    }

    fn told_of(mut self, key: &str) -> Self {
        self.reads.push((key.to_owned(), Seen::Present));
        self
    }

    fn change(mut self, key: &str, change: Change) -> Self {
        self.changes.push((key.to_owned(), change));
        self
    }

    fn inserts(self, key: &str, element: Element) -> Self {
        self.change(key, Change::Insert(element))
    }

    fn replaces(self, key: &str, element: Element) -> Self {
        self.change(key, Change::Replace(element))
    }

    fn appends(self, key: &str, elements: &[Element]) -> Self {
        self.change(key, Change::Append(elements.to_vec()))
    }

    fn deletes(self, key: &str) -> Self {
        self.change(key, Change::Delete)
    }
}

/// `x` is [1] and `y` is [2] from time 2 and LSN 2 on.
fn with(rest: impl IntoIterator<Item = Operation>) -> Vec<Operation> {
    let mut history = vec![
        op(0, 0, 1).lsn(1).inserts("x", 1),
        op(0, 1, 2).lsn(2).inserts("y", 2),
    ];
    history.extend(rest);
    history
}

#[track_caller]
fn fine(history: &[Operation]) -> Stats {
    let (anomalies, stats) = check(history);
    let text: Vec<String> = anomalies.iter().map(ToString::to_string).collect();
    assert!(text.is_empty(), "{}", text.join("\n"));
    stats
}

/// It must be found, and its words name operations.
#[track_caller]
fn finds(history: &[Operation], kind: Kind, order: Order) {
    let (anomalies, _) = check(history);
    let found = anomalies.iter().any(|a| a.kind == kind && a.order == order);
    assert!(found, "{kind:?} {order:?} is not in {anomalies:#?}");
    assert!(anomalies.iter().all(|anomaly| anomaly.text.contains('[')));
}

#[test]
fn a_serial_history_is_fine() {
    let stats = fine(&with([
        op(1, 3, 4).sees("x", &[1]).sees("y", &[2]).misses("z"),
        op(2, 5, 6).lsn(3).appends("x", &[3]).sees("x", &[1, 3]),
        op(1, 7, 8).sees("x", &[1, 3]),
        op(2, 9, 10).lsn(4).deletes("x"),
        op(1, 11, 12).misses("x"),
        op(1, 13, 14)
            .outcome(Outcome::Refused)
            .misses("x")
            .appends("x", &[4]),
        op(2, 15, 16).lsn(5).replaces("y", 5).sees("y", &[5]),
        op(1, 17, 18)
            .outcome(Outcome::Refused)
            .told_of("y")
            .inserts("y", 6),
        op(2, 19, 20).lsn(6).inserts("x", 7),
        op(1, 21, 22).sees("x", &[7]).sees("y", &[5]),
    ]));
    assert_eq!((stats.operations, stats.writes, stats.reads), (12, 6, 11));
    // x: 1, 3, deleted, 7; y: 2, 5.
    assert_eq!(stats.write_write, 4);
    assert!(stats.write_read >= 7 && stats.read_write >= 5, "{stats}");
}

#[test]
fn overlapping_operations_may_take_effect_in_any_order() {
    for list in [vec![1, 3, 4], vec![1, 4, 3]] {
        let lsn = |element| 2 + list.iter().position(|e| *e == element).unwrap() as u64;
        fine(
            &with([
                op(1, 3, 9).lsn(lsn(3)).appends("x", &[3]),
                op(2, 4, 8).lsn(lsn(4)).appends("x", &[4]),
                op(3, 3, 9).sees("x", &[1]),
                op(4, 3, 9).sees("x", &list[..2]),
                op(5, 3, 9).sees("x", &list),
            ])[..],
        );
    }
}

#[test]
fn g0_writes_in_opposite_orders() {
    let history = with([
        op(1, 3, 9).appends("x", &[3]).appends("y", &[4]),
        op(2, 3, 9).appends("x", &[5]).appends("y", &[6]),
        op(3, 10, 11).sees("x", &[1, 3, 5]).sees("y", &[2, 6, 4]),
    ]);
    finds(&history, Kind::G0, Order::None);
}

#[test]
fn g0_in_real_time_is_a_write_that_went_back_in_time() {
    let history = with([
        op(1, 3, 4).appends("x", &[3]),
        op(2, 5, 6).appends("x", &[4]),
        op(3, 7, 8).sees("x", &[1, 4, 3]),
    ]);
    finds(&history, Kind::G0, Order::RealTime);
}

#[test]
fn g1a_a_refused_write_is_read() {
    let history = with([
        op(1, 3, 4)
            .outcome(Outcome::Refused)
            .appends("x", &[3])
            .appends("z", &[4]),
        op(2, 5, 6).sees("x", &[1, 3]),
    ]);
    finds(&history, Kind::G1a, Order::None);
}

#[test]
fn g1b_a_value_inside_of_a_batch_is_read() {
    let batch = || op(1, 3, 9).lsn(3).appends("x", &[3, 4]);
    let history = with([batch(), op(2, 4, 5).sees("x", &[1, 3])]);
    finds(&history, Kind::G1b, Order::None);
    fine(&with([batch(), op(2, 4, 5).sees("x", &[1, 3, 4])]));
    let history = with([
        batch(),
        op(2, 3, 9).lsn(4).appends("x", &[5]),
        op(3, 10, 11).sees("x", &[1, 3, 5, 4]),
    ]);
    finds(&history, Kind::G1b, Order::None);
}

#[test]
fn g1c_each_reads_what_the_other_wrote() {
    let history = with([
        op(1, 3, 9).lsn(3).appends("x", &[3]).sees("y", &[2, 4]),
        op(2, 3, 9).lsn(4).appends("y", &[4]).sees("x", &[1, 3]),
    ]);
    finds(&history, Kind::G1c, Order::None);
}

#[test]
fn g_single_is_read_skew() {
    let history = with([
        op(1, 3, 4).lsn(3).appends("x", &[3]),
        op(1, 5, 6).lsn(4).sees("x", &[1, 3]).appends("y", &[4]),
        op(2, 3, 9).sees("x", &[1]).sees("y", &[2, 4]),
    ]);
    finds(&history, Kind::GSingle, Order::None);
}

#[test]
fn a_torn_batch_is_named() {
    let history = with([
        op(1, 3, 9).lsn(3).appends("x", &[3]).appends("y", &[4]),
        op(2, 3, 9).sees("x", &[1]).sees("y", &[2, 4]),
    ]);
    finds(&history, Kind::TornBatch, Order::None);
    finds(&history, Kind::GSingle, Order::None);
    // Two views may lie on both sides of it.
    fine(&with([
        op(1, 3, 9).lsn(3).appends("x", &[3]).appends("y", &[4]),
        op(2, 3, 5).sees("x", &[1]).sees("y", &[2]),
        op(2, 6, 9).sees("x", &[1, 3]).sees("y", &[2, 4]),
    ]));
}

#[test]
fn a_torn_batch_of_inserts() {
    let history = [
        op(1, 3, 9).lsn(3).inserts("x", 3).inserts("y", 4),
        op(2, 3, 9).misses("x").sees("y", &[4]),
    ];
    finds(&history, Kind::GSingle, Order::None);
}

#[test]
fn g2_is_write_skew() {
    let history = with([
        op(1, 3, 9).lsn(3).sees("y", &[2]).appends("x", &[3]),
        op(2, 3, 9).lsn(4).sees("x", &[1]).appends("y", &[4]),
        op(3, 10, 11).sees("x", &[1, 3]).sees("y", &[2, 4]),
    ]);
    finds(&history, Kind::G2, Order::None);
}

#[test]
fn g2_with_phantoms() {
    let history = [
        op(1, 3, 9).lsn(3).misses("y").inserts("x", 3),
        op(2, 3, 9).lsn(4).misses("x").inserts("y", 4),
    ];
    finds(&history, Kind::G2, Order::None);
}

#[test]
fn a_lost_update() {
    let history = with([
        op(1, 3, 9).lsn(3).appends("x", &[3]).sees("x", &[1, 3]),
        op(2, 3, 9).lsn(4).appends("x", &[4]).sees("x", &[1, 4]),
    ]);
    finds(&history, Kind::LostUpdate, Order::None);
}

#[test]
fn a_stale_read_after_an_acknowledgement() {
    let history = with([
        op(1, 3, 4).lsn(3).appends("x", &[3]).sees("x", &[1, 3]),
        op(2, 5, 6).sees("x", &[1]),
    ]);
    finds(&history, Kind::GSingle, Order::RealTime);
}

#[test]
fn a_read_behind_another_readers_back() {
    // The write is still under way: both values are fine, but not the old one after the new one.
    let write = || op(1, 3, 20).lsn(3).appends("x", &[3]);
    let history = with([
        write(),
        op(2, 5, 6).sees("x", &[1, 3]),
        op(3, 7, 8).sees("x", &[1]),
    ]);
    finds(&history, Kind::GSingle, Order::RealTime);
    fine(&with([
        write(),
        op(2, 5, 8).sees("x", &[1, 3]),
        op(3, 7, 8).sees("x", &[1]),
    ]));
}

#[test]
fn non_monotonic_reads() {
    let history = with([
        op(1, 3, 20).lsn(3).appends("x", &[3]),
        op(2, 5, 6).sees("x", &[1, 3]),
        op(2, 7, 8).sees("x", &[1]),
    ]);
    finds(&history, Kind::GSingle, Order::Session);
}

#[test]
fn an_acknowledged_write_that_a_kill_took() {
    let append = |outcome| op(1, 3, 4).outcome(outcome).appends("x", &[3]);
    let lost = append(Outcome::Done(Some(3))).sees("x", &[1, 3]);
    let later = || op(2, 9, 10).sees("x", &[1]);
    finds(&with([lost, later()]), Kind::GSingle, Order::RealTime);
    // Without an answer it may be gone.
    fine(&with([append(Outcome::Unknown), later()]));
}

#[test]
fn a_document_that_comes_back_after_its_deletion() {
    let deletion = || op(1, 3, 4).lsn(3).deletes("x");
    let history = with([deletion(), op(2, 5, 6).sees("x", &[1])]);
    finds(&history, Kind::GSingle, Order::RealTime);
    fine(&with([deletion(), op(2, 3, 6).sees("x", &[1])]));
}

#[test]
fn not_there_although_it_was_all_the_time() {
    let history = with([op(2, 5, 6).misses("x")]);
    finds(&history, Kind::GSingle, Order::RealTime);
    // Between a deletion and a new insert it can be missed.
    let gap = |start, end| {
        with([
            op(1, 10, 20).lsn(3).deletes("x"),
            op(1, 21, 30).lsn(4).inserts("x", 3),
            op(2, start, end).misses("x"),
        ])
    };
    fine(&gap(5, 15));
    fine(&gap(25, 40));
    finds(&gap(5, 9), Kind::GSingle, Order::RealTime);
    finds(&gap(31, 40), Kind::GSingle, Order::RealTime);
}

#[test]
fn there_although_it_never_was() {
    let refused = |start, end| op(2, start, end).outcome(Outcome::Refused).told_of("x");
    let deletion = || op(1, 10, 20).lsn(3).deletes("x");
    fine(&with([deletion(), refused(15, 25)]));
    let history = with([deletion(), refused(21, 25)]);
    finds(&history, Kind::GSingle, Order::RealTime);
}

#[test]
fn one_insert_of_an_id_and_one_deletion() {
    for second in [op(1, 3, 4).inserts("x", 3), op(1, 3, 4).deletes("z")] {
        let history = with([second.lsn(3), op(2, 5, 6).misses("z")]);
        finds(&history, Kind::Impossible, Order::None);
    }
    let history = [op(1, 3, 4).lsn(1).replaces("x", 3)];
    finds(&history, Kind::Impossible, Order::None);
    // A deletion without an answer explains the second insert.
    fine(&with([
        op(1, 3, 4).outcome(Outcome::Unknown).deletes("x"),
        op(2, 5, 6).lsn(3).inserts("x", 3),
    ]));
}

#[test]
fn lsns_out_of_order() {
    let history = with([
        op(1, 3, 4).lsn(9).appends("x", &[3]),
        op(2, 5, 6).lsn(8).appends("y", &[4]),
    ]);
    finds(&history, Kind::LsnOrder, Order::RealTime);
    let history = with([
        op(1, 3, 9).lsn(3).appends("x", &[3]),
        op(2, 3, 9).lsn(3).appends("y", &[4]),
    ]);
    finds(&history, Kind::LsnOrder, Order::RealTime);
    let history = with([
        op(1, 3, 9).lsn(4).appends("x", &[3]),
        op(2, 3, 9).lsn(3).appends("x", &[4]),
        op(3, 10, 11).sees("x", &[1, 3, 4]),
    ]);
    finds(&history, Kind::LsnOrder, Order::None);
}

#[test]
fn a_write_to_a_document_after_its_deletion() {
    let history = with([
        op(1, 3, 9).lsn(3).deletes("x"),
        op(2, 3, 9).lsn(4).appends("x", &[3]).sees("x", &[1, 3]),
    ]);
    finds(&history, Kind::LsnOrder, Order::None);
}

#[test]
fn an_answer_that_is_not_what_was_written() {
    let history = with([op(1, 3, 4).lsn(3).appends("x", &[3]).sees("x", &[1])]);
    finds(&history, Kind::Internal, Order::None);
    let history = [op(1, 3, 4).lsn(3).replaces("x", 3).sees("x", &[3, 3])];
    finds(&history, Kind::Garbage, Order::None);
}

#[test]
fn values_that_nobody_wrote_there() {
    for list in [&[1, 77][..], &[1, 2], &[], &[3], &[1, 3, 3]] {
        let history = with([
            op(1, 3, 4).lsn(3).appends("x", &[3]),
            op(2, 5, 6).sees("x", list),
        ]);
        finds(&history, Kind::Garbage, Order::None);
    }
}

#[test]
fn a_batch_without_an_answer_is_whole_or_absent() {
    let with_outcome = |x: &[Element], y: &[Element]| {
        with([
            op(1, 3, 8)
                .outcome(Outcome::Unknown)
                .appends("x", &[3])
                .appends("y", &[4]),
            op(2, 9, 10).sees("x", x).sees("y", y),
            op(2, 11, 12).lsn(3).appends("x", &[5]),
            op(2, 13, 14).sees("x", &[x, &[5]].concat()).sees("y", y),
        ])
    };
    fine(&with_outcome(&[1], &[2]));
    fine(&with_outcome(&[1, 3], &[2, 4]));
    finds(&with_outcome(&[1, 3], &[2]), Kind::TornBatch, Order::None);
    finds(&with_outcome(&[1], &[2, 4]), Kind::TornBatch, Order::None);
}

#[test]
fn a_batch_of_inserts_without_an_answer_is_whole_or_absent() {
    let batch = || {
        op(1, 3, 8)
            .outcome(Outcome::Unknown)
            .inserts("a", 3)
            .inserts("b", 4)
    };
    let torn = op(2, 9, 10).sees("a", &[3]).misses("b");
    finds(&with([batch(), torn.clone()]), Kind::TornBatch, Order::None);
    let deletion = op(3, 5, 9).outcome(Outcome::Unknown).deletes("b");
    fine(&with([batch(), deletion, torn]));
    fine(&with([batch(), op(2, 9, 10).misses("a").misses("b")]));
    fine(&with([
        batch(),
        op(2, 9, 10).sees("a", &[3]).sees("b", &[4]),
    ]));
}
