//! What is on the page, whoever sent it.

use std::collections::BTreeMap;

use serde_json::Map;

use super::*;
use crate::admin::administration::{Setting, Subject, Word, Words};
use crate::admin::events::Numbered;
use crate::admin::status::tests::SAMPLE;
use crate::admin::status::{Backend, Candidate, Health, Member, MemberState, Status};

fn status() -> Status {
    serde_json::from_str(SAMPLE).expect("it is a status")
}

fn html(status: &Status, events: &[std::rc::Rc<Numbered>]) -> String {
    html_with(status, &Words::default(), events)
}

fn html_with(status: &Status, words: &Words, events: &[std::rc::Rc<Numbered>]) -> String {
    let conditions = [("listening".to_owned(), true), ("probed".to_owned(), false)];
    let now = status.vips.first().map_or(Timestamp::UNIX_EPOCH, |vip| vip.since);
    let shown = Shown {
        status,
        conditions: &conditions,
        words,
        operable: true,
        events,
        latest: 7,
        now: now + jiff::SignedDuration::from_mins(3),
    };
    parts::document(&shown).into_string()
}

#[test]
fn the_first_thing_is_who_holds_the_vip() {
    let mut status = status();
    let page = html(&status, &[]);
    assert!(page.contains("<strong>ha1</strong> holds it"), "{page}");
    assert!(page.contains("here active for <time datetime=\"2026-11-22T10:00:00Z\""), "{page}");
    assert!(page.contains(">3 min</time>") && page.contains("All is well"), "{page}");
    assert!(page.contains("<title>vi_1 on ha1 · myweb</title>"), "{page}");
    status.vips[0].holder = None;
    let page = html(&status, &[]);
    assert!(page.contains("<strong>nobody</strong> holds it"), "{page}");
    assert!(page.contains("<title>! vi_1 on nobody · myweb</title>"), "{page}");
}

#[test]
fn two_holders_are_shown_as_two() {
    let mut status = status();
    status.vips[0].holder = Some("ha2".into());
    let page = html(&status, &[]);
    assert!(page.contains("both\" title=\"base priority 101\"><b>103</b> holds it"), "{page}");
    assert!(page.contains("both hold"), "{page}");
}

#[test]
fn a_node_that_sees_otherwise_is_marked() {
    let mut status = status();
    status.members.push(Member { name: "ha2".into(), own: false, ..status.members[0].clone() });
    status.services[0].backends[0].views.insert("ha2".into(), Health::Down);
    let page = html(&status, &[]);
    assert!(page.contains("<td class=\"odd\"><span class=\"bad\">down</span></td>"), "{page}");
    assert!(!page.contains("the cluster says"), "{page}");
    status.services[0].backends[0].health = Health::Down;
    assert!(html(&status, &[]).contains("the cluster says up"));
}

#[test]
fn what_others_send_is_text() {
    const EVIL: &str = "<img src=x onerror=alert(1)>\"'&";
    let mut status = status();
    status.cluster = EVIL.into();
    status.members[0].name = EVIL.into();
    status.members[0].version = EVIL.into();
    status.vips[0].holder = Some(EVIL.into());
    status.vips[0].candidates[0].node = EVIL.into();
    status.services[0].backends[0].name = EVIL.into();
    status.services[0].backends[0].views = BTreeMap::from([(EVIL.to_owned(), Health::Up)]);
    let document = Map::from_iter(
        [("event", EVIL), ("member", EVIL), ("timestamp", EVIL), ("level", EVIL)]
            .map(|(key, value)| (key.to_owned(), value.into())),
    );
    let page = html(&status, &[std::rc::Rc::new(Numbered { id: 7, document })]);
    assert!(!page.contains("<img src=x") && !page.contains("x onerror=alert(1)>\""), "{page}");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;"), "{page}");
}

#[test]
fn a_vip_can_be_moved_to_whoever_else_could_hold_it_and_home_when_it_was() {
    let mut status = status();
    let page = html(&status, &[]);
    assert!(page.contains("data-to=\"\" disabled title=\"nobody else could hold it\""), "{page}");
    let candidate = |node: &str, eligible| Candidate { node: node.into(), effective_priority: 100, eligible };
    status.vips[0].candidates.extend([
        candidate("ha2", true),
        candidate("ha3", false),
        candidate("ha4", true),
    ]);
    let page = html(&status, &[]);
    assert!(page.contains("data-to=\"ha2 ha4\" aria-label=\"move vi_1\""), "{page}");
    assert!(!page.contains("wanted on"), "{page}");
    let word = Word {
        target: Subject::Vip("vi_1".into()),
        setting: Setting::Holder(Some("ha2".into())),
        since: status.vips[0].since,
        expires: None,
        by: "ha1".into(),
    };
    let page = html_with(&status, &Words { words: vec![word] }, &[]);
    assert!(page.contains("wanted on <strong>ha2</strong>"), "{page}");
    assert!(page.contains("data-to=\"ha2 ha4\" data-home=\"\""), "{page}");
}

#[test]
fn a_large_cluster_is_summed_up() {
    let mut status = status();
    let member = |n: usize| Member {
        name: format!("node{n:03}"),
        state: MemberState::Alive,
        own: n == 0,
        ..status.members[0].clone()
    };
    let members: Vec<Member> = (0..100).map(member).collect();
    let views: BTreeMap<String, Health> = members
        .iter()
        .enumerate()
        .map(|(n, member)| (member.name.clone(), if n == 3 { Health::Down } else { Health::Up }))
        .collect();
    let backend = |n: usize| Backend {
        name: format!("web{n}"),
        views: views.clone(),
        ..status.services[0].backends[0].clone()
    };
    status.services[0].backends = (0..200).map(backend).collect();
    status.vips[0].candidates = members
        .iter()
        .map(|member| Candidate { node: member.name.clone(), effective_priority: 100, eligible: true })
        .collect();
    status.members = members;
    let page = html(&status, &[]);
    assert!(page.contains("99 up, 1 down: <span class=\"disagreement\">node003</span>"), "{page}");
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn nothing_in_the_page_stands_in_the_way_of_its_own_policy() {
    let page = html(&status(), &[]);
    for forbidden in ["style=", " onclick=", "<style", "http://", "https://", "javascript:"] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
    assert!(!include_str!("page.css").contains("url("), "a style sheet may load things, too");
}
