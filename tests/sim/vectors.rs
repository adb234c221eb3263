//! Who holds the VIP, by keepalived's rules: the steady-state vectors, by their row numbers.
//!
//! Nodes are numbered from 1 and have ascending addresses. Where keepalived ends with two holders, so must
//! nobody here; where it races, any one of the racers will do.

use std::time::Duration;

use crate::cluster::{Cluster, Node};

fn pair(weight: i16) -> Cluster {
    let mut cluster = Cluster::new(&[Node::new(101, &[weight]), Node::new(100, &[weight])]);
    cluster.start_all();
    cluster
}

/// Base priorities of two nodes that track nothing.
const PLAIN: [u8; 2] = [101, 100];

fn plain_pair() -> Cluster {
    Cluster::new(&PLAIN.map(|base| Node::new(base, &[])))
}

/// No moment of any vector may have had two holders on one network.
fn never_two(cluster: &Cluster) {
    assert_eq!(cluster.double(), Duration::ZERO, "two nodes held the VIP");
    assert_eq!(cluster.violations(), []);
}

#[test]
fn rows_1_to_6_a_weight_above_0_is_added_while_the_check_succeeds() {
    let mut c = pair(2);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1), "row 1");
    assert_eq!(c.priority(1), Some(103));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "row 2");
    assert_eq!((c.priority(1), c.priority(2)), (Some(101), Some(102)));
    assert_eq!(c.check(2, 0, false).holder(), Some(1), "row 3");
    assert_eq!((c.priority(1), c.priority(2)), (Some(101), Some(100)));
    assert_eq!(c.check(2, 0, true).holder(), Some(2), "row 4");
    assert_eq!(c.priority(2), Some(102));
    assert_eq!(c.check(1, 0, true).holder(), Some(1), "row 5");
    assert_eq!(c.priority(1), Some(103));
    assert_eq!(c.check(2, 0, false).holder(), Some(1), "row 6");
    assert_eq!(c.priority(1), Some(103));
    never_two(&c);
}

#[test]
fn rows_7_and_8_a_check_without_a_result_adds_nothing() {
    let mut c = pair(2);
    assert_eq!(c.holder(), Some(1), "row 7");
    assert_eq!((c.priority(1), c.priority(2)), (Some(101), Some(100)), "row 8: it never has a result");
    never_two(&c);
}

#[test]
fn rows_9_to_12_a_node_that_does_not_preempt_never_takes_from_a_living_holder() {
    let mut c = Cluster::new(&[Node::new(101, &[2]), Node::new(100, &[2]).nopreempt()]);
    c.start_all().checks(&[true, true]);
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.check(1, 0, false).holder(), Some(1), "row 9");
    assert_eq!(c.priority(1), Some(101));
    assert_eq!(c.stop(1).holder(), Some(2), "row 10");
    assert_eq!(c.priority(2), Some(102));
    assert_eq!(c.start(1).check(1, 0, false).holder(), Some(2), "row 11");
    assert_eq!(c.check(1, 0, true).holder(), Some(1), "row 12");
    assert_eq!(c.priority(1), Some(103));
    never_two(&c);
}

#[test]
fn row_13_without_preemption_the_holder_stays() {
    let mut c = Cluster::new(&[Node::new(101, &[2]).nopreempt(), Node::new(100, &[2]).nopreempt()]);
    assert_eq!(c.start(2).check(2, 0, true).holder(), Some(2));
    assert_eq!(c.start(1).check(1, 0, true).holder(), Some(2));
    assert_eq!(c.priority(2), Some(102));
    never_two(&c);
}

#[test]
fn rows_14_to_16_a_weight_below_0_is_subtracted_while_the_check_fails() {
    let mut c = pair(-2);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1), "row 14");
    assert_eq!(c.priority(1), Some(101));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "row 15");
    assert_eq!((c.priority(1), c.priority(2)), (Some(99), Some(100)));
    assert_eq!(c.check(2, 0, false).holder(), Some(1), "row 16");
    assert_eq!((c.priority(1), c.priority(2)), (Some(99), Some(98)));
    never_two(&c);
}

#[test]
fn rows_17_to_19_a_weight_of_0_makes_the_node_ineligible() {
    let mut c = pair(0);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "row 17");
    assert_eq!(c.check(2, 0, false).holder(), None, "row 18");
    assert_eq!(c.check(1, 0, true).holder(), Some(1), "row 19");
    assert_eq!(c.priority(1), Some(101));
    never_two(&c);
}

#[test]
fn row_20_without_preemption_a_recovered_node_waits() {
    let mut c = Cluster::new(&[Node::new(101, &[0]).nopreempt(), Node::new(100, &[0]).nopreempt()]);
    c.start_all().checks(&[true, true]);
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.check(1, 0, false).holder(), Some(2));
    assert_eq!(c.check(1, 0, true).holder(), Some(2));
    never_two(&c);
}

#[test]
fn rows_21_and_23_a_tie_is_the_incumbent_s_and_after_a_heal_the_higher_address_s() {
    let mut c = Cluster::new(&[Node::new(100, &[]), Node::new(100, &[])]);
    assert_eq!(c.start(1).holder(), Some(1));
    assert_eq!(c.start(2).holder(), Some(1), "row 21");
    c.cut_off(&[2]).run(Duration::from_secs(3));
    assert_eq!(c.holders(), [1, 2], "without a quorum each side has one");
    assert_eq!(c.heal().holder(), Some(2), "row 23");
}

#[test]
fn row_24_after_a_heal_the_higher_priority_holds() {
    let mut c = Cluster::new(&[Node::new(101, &[]), Node::new(100, &[])]);
    assert_eq!(c.start_all().holder(), Some(1));
    c.cut_off(&[2]).run(Duration::from_secs(3));
    assert_eq!(c.heal().holder(), Some(1));
}

#[test]
fn rows_25_and_26_among_equals_one_takes_over_and_keeps_it() {
    let node = Node::new(100, &[2]);
    let mut c = Cluster::new(&[node.clone(), node.clone(), node]);
    c.start(3).check(3, 0, true).run(Duration::from_secs(3));
    c.start(1).start(2).check(1, 0, true).check(2, 0, true);
    assert_eq!(c.holder(), Some(3));
    let next = c.check(3, 0, false).holder().expect("row 25");
    assert!(next == 1 || next == 2);
    assert_eq!(c.priority(next), Some(102));
    assert_eq!(c.check(3, 0, true).holder(), Some(next), "row 26");
    never_two(&c);
}

#[test]
fn rows_27_and_28_the_priority_is_clamped_at_254() {
    let mut c = Cluster::new(&[Node::new(250, &[100]), Node::new(253, &[100])]);
    c.start(1).check(1, 0, true).run(Duration::from_secs(3));
    assert_eq!(c.start(2).check(2, 0, true).holder(), Some(1), "row 27");
    assert_eq!((c.priority(1), c.priority(2)), (Some(254), Some(254)));
    assert_eq!(c.checks(&[false, false]).holder(), Some(2), "row 28");
    assert_eq!(c.priority(2), Some(253));
    never_two(&c);
}

#[test]
fn rows_29_and_30_the_priority_is_clamped_at_1_and_its_sum_is_not() {
    let mut c = Cluster::new(&[Node::new(100, &[-80, -80]), Node::new(50, &[])]);
    c.start_all().check(1, 0, true).check(1, 1, true);
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.check(1, 0, false).check(1, 1, false).holder(), Some(2), "row 29");
    assert_eq!(c.priority(1), Some(1));
    assert_eq!(c.power_off(2).holder(), Some(1), "row 30");
    assert_eq!(c.priority(1), Some(1));
    assert_eq!(c.check(1, 0, true).holder(), Some(1));
    assert_eq!(c.priority(1), Some(20));
    c.check(1, 1, true).run(Duration::from_secs(1));
    assert_eq!(c.priority(1), Some(100));
    never_two(&c);
}

#[test]
fn rows_31_and_32_an_address_owner_is_immune_to_weights_but_for_0() {
    let mut c = Cluster::new(&[Node::new(255, &[-50]), Node::new(100, &[])]);
    c.start_all().check(1, 0, true);
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.check(1, 0, false).holder(), Some(1), "row 31");
    assert_eq!(c.priority(1), Some(255));
    never_two(&c);

    let mut c = Cluster::new(&[Node::new(255, &[0]), Node::new(100, &[])]);
    c.start_all().check(1, 0, true);
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "row 32");
    assert_eq!(c.check(1, 0, true).holder(), Some(1), "row 32");
    assert_eq!(c.priority(1), Some(255));
    never_two(&c);
}

#[test]
fn row_33_a_pending_check_of_weight_0_keeps_the_node_out() {
    let mut c = Cluster::new(&[Node::new(101, &[0]), Node::new(100, &[])]);
    assert_eq!(c.start_all().holder(), Some(2));
    assert_eq!(c.priority(2), Some(100));
    assert_eq!(c.check(1, 0, true).holder(), Some(1));
    assert_eq!(c.priority(1), Some(101));
    never_two(&c);
}

#[test]
fn row_34_the_priority_falls_at_the_third_failure() {
    let mut c = Cluster::new(&[Node::new(101, &[5]).rise_fall(3, 3), Node::new(100, &[5]).rise_fall(3, 3)]);
    assert_eq!(c.start_all().checks(&[true, true]).holder(), Some(1), "the first success is enough");
    assert_eq!(c.priority(1), Some(106));
    for _ in 0..2 {
        assert_eq!(c.check(1, 0, false).holder(), Some(1));
        assert_eq!(c.priority(1), Some(106));
    }
    assert_eq!(c.check(1, 0, false).holder(), Some(2));
    assert_eq!((c.priority(1), c.priority(2)), (Some(101), Some(105)));
    never_two(&c);
}

#[test]
fn rows_35_to_38_reverse_turns_well_and_failed_round() {
    let reversed = |weight| {
        let nodes = [Node::new(101, &[weight]).reversed(), Node::new(100, &[weight]).reversed()];
        let mut cluster = Cluster::new(&nodes);
        cluster.start_all();
        cluster
    };
    let mut c = reversed(5);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1), "row 35");
    assert_eq!((c.priority(1), c.priority(2)), (Some(96), Some(95)));
    assert_eq!(c.check(1, 0, false).holder(), Some(1), "row 36");
    assert_eq!(c.priority(1), Some(101));
    let mut c = reversed(-5);
    assert_eq!(c.checks(&[true, false]).holder(), Some(2), "row 37");
    assert_eq!(c.priority(2), Some(105));
    let mut c = reversed(0);
    assert_eq!(c.checks(&[true, false]).holder(), Some(2), "row 38");
    assert_eq!(c.priority(2), Some(100));
    never_two(&c);
}

#[test]
fn rows_45_to_50_of_five_nodes_the_highest_eligible_holds() {
    let nodes: Vec<Node> = (101..=105).rev().map(|base| Node::new(base, &[10])).collect();
    let mut c = Cluster::new(&nodes);
    assert_eq!(c.start_all().checks(&[true; 5]).holder(), Some(1), "row 45");
    assert_eq!(c.priority(1), Some(115));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "row 46");
    assert_eq!(c.priority(2), Some(114));
    assert_eq!(c.check(2, 0, false).holder(), Some(3), "row 47");
    assert_eq!(c.priority(3), Some(113));
    assert_eq!(c.checks(&[false; 5]).holder(), Some(1), "row 48");
    assert_eq!(c.priority(1), Some(105));
    assert_eq!(c.check(5, 0, true).holder(), Some(5), "row 49");
    assert_eq!(c.priority(5), Some(111));
    assert_eq!(c.stop(5).holder(), Some(1), "row 50");
    assert_eq!(c.priority(1), Some(105));
    never_two(&c);
}

#[test]
fn row_51_a_stopping_holder_hands_over_to_the_second_not_the_third() {
    let mut c = Cluster::new(&[Node::new(103, &[]), Node::new(102, &[]), Node::new(101, &[])]);
    assert_eq!(c.start_all().holder(), Some(1));
    assert_eq!(c.stop(1).holder(), Some(2));
    never_two(&c);
}

#[test]
fn row_54_several_checks_add_up() {
    let mut c = Cluster::new(&[Node::new(101, &[2, -20]), Node::new(100, &[2, -20])]);
    c.start_all().check(1, 0, true).check(1, 1, true).check(2, 0, true).check(2, 1, true);
    assert_eq!(c.holder(), Some(1), "a and b well");
    assert_eq!(c.priority(1), Some(103));
    assert_eq!(c.check(1, 0, false).holder(), Some(2), "a failed");
    assert_eq!((c.priority(1), c.priority(2)), (Some(101), Some(102)));
    assert_eq!(c.check(1, 1, false).holder(), Some(2), "a and b failed");
    assert_eq!(c.check(1, 0, true).holder(), Some(2), "b failed");
    assert_eq!(c.priority(1), Some(83));
    never_two(&c);
}

#[test]
fn row_55_a_tie_reached_by_weights_is_the_incumbent_s() {
    let mut c = Cluster::new(&[Node::new(100, &[5]), Node::new(105, &[5])]);
    c.start(1).check(1, 0, true).run(Duration::from_secs(3));
    assert_eq!(c.start(2).check(2, 0, false).holder(), Some(1));
    assert_eq!((c.priority(1), c.priority(2)), (Some(105), Some(105)));
    never_two(&c);
}

#[test]
fn rows_56_and_57_a_check_that_fails_from_the_start() {
    let mut c = Cluster::new(&[Node::new(101, &[2]), Node::new(90, &[2])]);
    c.start_all().checks(&[false, true]);
    assert_eq!(c.holder(), Some(1), "row 56");
    assert_eq!(c.priority(1), Some(101));
    c.check(1, 0, true).run(Duration::from_secs(1));
    assert_eq!(c.priority(1), Some(103));
    c.check(1, 0, false).run(Duration::from_secs(1));
    assert_eq!(c.priority(1), Some(101));

    let mut c = Cluster::new(&[Node::new(101, &[-5]), Node::new(90, &[-5])]);
    c.start_all().checks(&[false, true]);
    assert_eq!(c.holder(), Some(1), "row 57");
    assert_eq!(c.priority(1), Some(96));
    assert_eq!(c.check(1, 0, true).holder(), Some(1));
    assert_eq!(c.priority(1), Some(101));
    never_two(&c);
}

#[test]
fn row_42_a_holder_without_its_cable_is_succeeded_and_comes_home() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    c.link(1, false).run(Duration::from_secs(4));
    assert_eq!(c.holders(), [2]);
    assert_eq!(c.priority(2), Some(100));
    assert_eq!(c.link(1, true).holder(), Some(1));
    never_two(&c);
}

#[test]
fn rows_52_and_53_a_node_that_returns_waits_for_its_preempt_delay_while_somebody_holds() {
    let delay = Duration::from_secs(6);
    let mut c = Cluster::with_preempt_delay(&PLAIN.map(|base| Node::new(base, &[])), delay);
    assert_eq!(c.start_all().holder(), Some(1), "nobody to take it from");
    assert_eq!(c.power_off(1).holder(), Some(2));
    assert_eq!(c.start(1).holder(), Some(2), "row 52: 4 s after its return");
    assert_eq!(c.holder(), Some(1), "row 52: 8 s after it");
    assert_eq!(c.priority(1), Some(101));
    never_two(&c);

    let mut c = Cluster::with_preempt_delay(&PLAIN.map(|base| Node::new(base, &[])), delay * 5);
    assert_eq!(c.start_all().holder(), Some(1));
    assert_eq!(c.power_off(1).holder(), Some(2));
    assert_eq!(c.start(1).holder(), Some(2));
    c.freeze(2).run(Duration::from_secs(4));
    assert_eq!(c.holders(), [1], "row 53: who is gone is no reason to wait");
    never_two(&c);
}

#[test]
fn rows_65_and_66_what_a_killed_node_left_is_waited_for_and_gone_at_its_start() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    c.kill(1).run(Duration::from_secs(1));
    assert_eq!(c.holders(), [1], "row 65: its kernel answers still");
    assert_eq!(c.holder(), Some(2), "row 65");
    assert_eq!(c.priority(2), Some(100));
    assert_eq!(c.start(1).holder(), Some(1), "row 66");
    never_two(&c);
}

#[test]
fn row_67_a_guard_that_is_killed_is_replaced_and_one_node_holds() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    assert_eq!(c.kill_guard(1).holder(), Some(1));
    never_two(&c);
}

#[test]
fn row_68_a_frozen_holder_is_succeeded_and_takes_it_back_once_it_runs() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    c.freeze(1).run(Duration::from_secs(4));
    assert_eq!(c.holders(), [2]);
    assert_eq!(c.thaw(1).holder(), Some(1));
    never_two(&c);
}

#[test]
fn row_70_a_holder_that_is_asked_to_stop_hands_over() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    c.stop(1);
    assert_eq!(c.holders(), [2]);
    assert_eq!(c.priority(2), Some(100));
    never_two(&c);
}

#[test]
fn row_71_a_reload_of_the_same_file_moves_nothing() {
    let mut c = pair(2);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1));
    let term = c.term(1);
    for _ in 0..10 {
        c.reload(1, &Node::new(101, &[2])).run(Duration::from_millis(30));
        assert_eq!((c.holders(), c.priority(1)), (vec![1], Some(103)));
    }
    assert_eq!(c.holder(), Some(1));
    assert_eq!(c.term(1), term, "nobody elected anybody");
    never_two(&c);
}

#[test]
fn row_72_a_lower_priority_read_by_the_holder_hands_over_at_once() {
    let mut c = pair(2);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1));
    c.reload(1, &Node::new(90, &[2])).run(Duration::from_millis(5));
    assert_eq!(c.holders(), [2]);
    assert_eq!((c.priority(1), c.priority(2)), (Some(92), Some(102)));
    assert_eq!(c.reload(1, &Node::new(101, &[2])).holder(), Some(1), "and takes it back by the old one");
    never_two(&c);
}

#[test]
fn a_reload_that_forbids_preemption_holds_for_the_next_return() {
    let mut c = pair(2);
    c.checks(&[true, true]).reload(1, &Node::new(101, &[2]).nopreempt());
    assert_eq!(c.check(1, 0, false).holder(), Some(2));
    assert_eq!(c.check(1, 0, true).holder(), Some(2));
    assert_eq!(c.reload(1, &Node::new(101, &[2])).holder(), Some(1));
    never_two(&c);
}

#[test]
fn row_74_an_address_that_somebody_else_removes_is_there_again() {
    let mut c = plain_pair();
    assert_eq!(c.start_all().holder(), Some(1));
    assert_eq!(c.remove_address(1).holder(), Some(1));
    assert_eq!(c.priority(1), Some(101));
    never_two(&c);
}

#[test]
fn an_address_that_outlives_its_daemon_and_guard_is_waited_for() {
    let mut c = Cluster::new(&[Node::new(101, &[]), Node::new(100, &[])]);
    assert_eq!(c.start_all().holder(), Some(1));
    c.kill(1).run(Duration::from_millis(1500));
    assert_eq!(c.holders(), [1], "the kernel still answers, so nobody takes it");
    assert_eq!(c.holder(), Some(2));
    never_two(&c);
}

#[test]
fn a_machine_that_is_gone_is_taken_over_from_within_a_quarter_of_a_second() {
    let mut c = Cluster::new(&[Node::new(101, &[]), Node::new(100, &[]), Node::new(99, &[])]);
    assert_eq!(c.start_all().holder(), Some(1));
    c.power_off(1).run(Duration::from_millis(250));
    assert_eq!(c.holders(), [2]);
    assert_eq!(c.start(1).holder(), Some(1), "and hands it back once the machine is ready");
    never_two(&c);
}

#[test]
fn a_daemon_that_dies_alone_is_replaced_at_once_by_its_guard_s_word() {
    let mut c = Cluster::new(&[Node::new(101, &[]), Node::new(100, &[]), Node::new(99, &[])]);
    assert_eq!(c.start_all().holder(), Some(1));
    c.kill_daemon(1).run(Duration::from_millis(2));
    assert_eq!(c.holders(), [2]);
    assert_eq!(c.holder(), Some(2));
    never_two(&c);
}

#[test]
fn a_planned_hand_over_takes_no_longer_than_its_messages() {
    let mut c = pair(2);
    assert_eq!(c.checks(&[true, true]).holder(), Some(1));
    c.check(1, 0, false).run(Duration::from_millis(5));
    assert_eq!(c.holders(), [2]);
    never_two(&c);
}
