//! Promises and grants among a few nodes, by hand.

use super::*;

const INTERVAL: Duration = Duration::from_millis(100);
const VIP: VipId = VipId(1);

fn at(milliseconds: u64) -> Time {
    Time::from_nanos((1000 + milliseconds) * 1_000_000)
}

fn node(number: u64, of: u16) -> Quorum {
    let mut quorum = Quorum::new(MemberId(number), of, [VIP], INTERVAL, Time::ZERO);
    quorum.advertised(1, at(0));
    quorum
}

fn boot(number: u64) -> Boot {
    Boot([number as u8; 16])
}

/// A question of `from`'s, which has heard everything, put to `to`.
fn ask(from: &Quorum, to: &mut Quorum, term: u32, now: Time) -> Option<Grant> {
    let request = Request {
        asked_at: now.as_nanos(),
        echo: u64::MAX,
        lasts: from.grant,
        wants: vec![Wanted { vip: VIP, term }],
        frees: vec![],
    };
    to.answer(from.me, boot(from.me.0), &request, now)
}

/// Runs a round of `asker`'s with those of `voters` that it reaches.
fn round(asker: &mut Quorum, voters: &mut [&mut Quorum], now: Time) {
    let Some(request) = asker.ask(now, false) else { return };
    let request = Request { echo: u64::MAX, ..request };
    for voter in voters {
        if let Some(grant) = voter.answer(asker.me, boot(asker.me.0), &request, now) {
            asker.granted(voter.me, &grant, now);
        }
    }
}

#[test]
fn a_majority_grants_and_the_grants_run_out() {
    let (mut one, mut two) = (node(1, 3), node(2, 3));
    one.want(0, Want::Candidate, 1, at(0));
    round(&mut one, &mut [], at(0));
    assert!(!one.grants(0, at(0)).suffice(at(0)), "its own vote is one of three");
    round(&mut one, &mut [&mut two], at(20));
    let grants = one.grants(0, at(20));
    assert!(grants.suffice(at(20)));
    assert_eq!(grants.end(), Some(at(470)), "a tenth less than was promised");
    assert!(!grants.suffice(at(200)), "what a beacon feeds lasts for 300 ms");
    assert!(!grants.are_over(at(469)) && grants.are_over(at(470)));
}

#[test]
fn no_second_node_is_granted_what_is_promised_until_the_promise_is_over() {
    let (one, two, mut voter) = (node(1, 3), node(2, 3), node(3, 3));
    assert!(ask(&one, &mut voter, 1, at(0)).is_some());
    assert!(ask(&two, &mut voter, 2, at(499)).is_none());
    assert_eq!(voter.promised_to(0, at(499)), Some(MemberId(1)));
    assert!(ask(&two, &mut voter, 2, at(500)).is_some());
    assert!(ask(&one, &mut voter, 1, at(510)).is_none());
}

#[test]
fn a_new_life_of_the_same_node_waits_like_anybody_else() {
    let (one, mut voter) = (node(1, 3), node(3, 3));
    assert!(ask(&one, &mut voter, 1, at(0)).is_some());
    let request = Request {
        asked_at: 0,
        echo: u64::MAX,
        lasts: one.grant,
        wants: vec![Wanted { vip: VIP, term: 2 }],
        frees: vec![],
    };
    assert!(voter.answer(MemberId(1), boot(99), &request, at(100)).is_none());
    assert!(voter.answer(MemberId(1), boot(99), &request, at(500)).is_some());
}

#[test]
fn a_resignation_of_that_term_ends_the_promise_at_once_and_an_older_one_does_not() {
    let (one, two, mut voter) = (node(1, 3), node(2, 3), node(3, 3));
    assert!(ask(&one, &mut voter, 4, at(0)).is_some());
    voter.resigned(MemberId(1), VIP, 3);
    assert!(ask(&two, &mut voter, 5, at(1)).is_none());
    voter.resigned(MemberId(1), VIP, 4);
    assert!(ask(&two, &mut voter, 5, at(2)).is_some());
}

#[test]
fn nothing_is_granted_within_a_grant_s_time_after_the_start() {
    let one = node(1, 3);
    let mut voter = Quorum::new(MemberId(3), 3, [VIP], INTERVAL, at(0));
    voter.advertised(1, at(0));
    assert!(ask(&one, &mut voter, 1, at(499)).is_none());
    voter.advertised(2, at(499));
    assert!(ask(&one, &mut voter, 1, at(500)).is_some());
    let mut young = Quorum::new(MemberId(1), 1, [VIP], INTERVAL, at(0));
    young.want(0, Want::Candidate, 1, at(10));
    round(&mut young, &mut [], at(10));
    assert!(!young.grants(0, at(10)).suffice(at(10)), "nor to itself");
}

#[test]
fn who_does_not_hear_this_node_is_granted_nothing() {
    let (one, mut voter) = (node(1, 3), node(3, 3));
    for n in 0..20 {
        voter.advertised(2 + n, at(100 * n));
    }
    let deaf = Request {
        asked_at: 0,
        echo: 3,
        lasts: one.grant,
        wants: vec![Wanted { vip: VIP, term: 1 }],
        frees: vec![],
    };
    assert!(voter.answer(MemberId(1), boot(1), &deaf, at(1900)).is_none());
    let hearing = Request { echo: 19, ..deaf };
    assert!(voter.answer(MemberId(1), boot(1), &hearing, at(1900)).is_some());
}

#[test]
fn an_unused_grant_is_given_back_and_its_late_copy_does_not_count() {
    let (mut one, two, mut voter) = (node(1, 3), node(2, 3), node(3, 3));
    one.want(0, Want::Candidate, 1, at(0));
    let question = Request { echo: u64::MAX, ..one.ask(at(0), false).expect("due at once") };
    let late = voter.answer(MemberId(1), boot(1), &question, at(0)).expect("free");
    one.want(0, Want::Nothing, 1, at(10));
    let goodbye = Request { echo: u64::MAX, ..one.ask(at(10), false).expect("due at once") };
    assert_eq!((&goodbye.frees[..], &goodbye.wants[..]), (&[VIP][..], &[][..]));
    assert!(voter.answer(MemberId(1), boot(1), &goodbye, at(10)).is_none());
    assert!(ask(&two, &mut voter, 1, at(10)).is_some(), "it is free again");

    one.want(0, Want::Candidate, 1, at(20));
    one.ask(at(20), false);
    one.granted(MemberId(3), &late, at(20));
    assert!(!one.grants(0, at(20)).suffice(at(20)), "that grant has been given back");
}

#[test]
fn a_goodbye_overtaken_by_a_new_question_frees_nothing() {
    let (mut one, two, mut voter) = (node(1, 3), node(2, 3), node(3, 3));
    one.want(0, Want::Candidate, 1, at(0));
    one.ask(at(0), false);
    one.want(0, Want::Nothing, 1, at(10));
    let goodbye = one.ask(at(10), false).expect("due");
    one.want(0, Want::Candidate, 1, at(20));
    let question = Request { echo: u64::MAX, ..one.ask(at(20), false).expect("due") };
    assert!(voter.answer(MemberId(1), boot(1), &question, at(21)).is_some());
    assert!(voter.answer(MemberId(1), boot(1), &goodbye, at(22)).is_none());
    assert!(ask(&two, &mut voter, 1, at(23)).is_none());
}

#[test]
fn what_the_guard_may_still_have_is_not_given_back() {
    let mut one = node(1, 3);
    one.want(0, Want::Holder, 1, at(0));
    one.ask(at(0), false);
    one.want(0, Want::Nothing, 1, at(10));
    assert_eq!(one.due(at(10)), None, "the promises have to run out");
}

#[test]
fn the_larger_number_of_nodes_that_is_heard_applies() {
    let (mut one, mut two) = (node(1, 3), node(2, 5));
    one.want(0, Want::Candidate, 1, at(0));
    round(&mut one, &mut [&mut two], at(0));
    assert_eq!((one.expected_nodes(at(0)), one.needed(at(0))), (5, 3));
    assert!(!one.grants(0, at(0)).suffice(at(0)), "two of five");
    round(&mut one, &mut [&mut two, &mut node(3, 3)], at(20));
    assert!(one.grants(0, at(20)).suffice(at(20)));
}

#[test]
fn a_member_has_one_vote_however_often_it_grants() {
    let (mut one, mut two) = (node(1, 5), node(2, 5));
    one.want(0, Want::Candidate, 1, at(0));
    for n in 0..5 {
        round(&mut one, &mut [&mut two], at(20 * n));
    }
    assert_eq!(one.granted_by(0, at(80)).count(), 2);
    assert!(!one.grants(0, at(80)).suffice(at(80)));
}

#[test]
fn rounds_come_each_interval_and_at_once_again_while_answers_are_missing_but_not_for_ever() {
    let mut one = node(1, 3);
    one.want(0, Want::Candidate, 1, at(0));
    assert_eq!(one.due(at(0)), Some(at(0)));
    for (asked, due) in [(0, 2), (2, 6), (6, 14), (14, 30), (30, 50)] {
        round(&mut one, &mut [], at(asked));
        assert_eq!(one.due(at(asked)), Some(at(due)), "nobody has answered");
    }
    let (mut one, mut two) = (node(1, 3), node(2, 3));
    one.want(0, Want::Candidate, 1, at(0));
    round(&mut one, &mut [], at(0));
    round(&mut one, &mut [&mut two], at(20));
    assert_eq!(one.due(at(20)), Some(at(145)));
    for n in 0..60 {
        round(&mut one, &mut [], at(120 + 20 * n));
    }
    let last = one.due(at(2000)).expect("it is still wanted");
    round(&mut one, &mut [], last);
    assert_eq!(one.due(last), Some(last + INTERVAL * 5 / 4), "there is no hurry any more");
}

#[test]
fn an_advertisement_takes_the_next_question_along_but_not_one_right_after_the_last() {
    let (mut one, mut two) = (node(1, 3), node(2, 3));
    assert_eq!(one.ask(at(0), true), None, "nothing is wanted");
    one.want(0, Want::Holder, 1, at(0));
    round(&mut one, &mut [&mut two], at(0));
    assert_eq!(one.ask(at(49), true), None);
    assert_eq!(one.ask(at(60), false), None);
    assert!(one.ask(at(60), true).is_some());
    assert!(one.ask(at(64), false).is_some(), "nobody has answered");
}

#[test]
fn a_grant_from_the_future_is_no_grant() {
    let mut one = node(1, 3);
    one.want(0, Want::Candidate, 1, at(0));
    let grant = |asked_at: Time| Grant {
        asked_at: asked_at.as_nanos(),
        lasts: Duration::from_secs(1000),
        expected_nodes: 3,
        vips: vec![VIP],
    };
    round(&mut one, &mut [], at(0));
    one.granted(MemberId(2), &grant(at(5000)), at(0));
    assert!(!one.grants(0, at(0)).suffice(at(0)));
    one.granted(MemberId(2), &grant(at(0)), at(1));
    assert_eq!(one.grants(0, at(1)).end(), Some(at(450)), "and none lasts longer than was asked for");
}
