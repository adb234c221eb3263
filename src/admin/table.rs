//! A status as text that a person can read, and what in it calls for one.

use std::fmt::Write as _;

use super::status::{AdminState, Backend, Health, Member, MemberState, Status, VipState};

/// The whole status as aligned plain text, what calls for attention last.
pub fn render(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "not ready" };
    let mut text = format!(
        "cluster {}, seen from {} ({ready}), quorum {}\n",
        clean(&status.cluster),
        clean(&status.node),
        clean(&status.quorum),
    );
    for table in [members(status), vips(status), services(status)] {
        if table.rows.len() > 1 {
            text.push('\n');
            table.write(&mut text);
        }
    }
    let troubles = degraded(status);
    let notes = notes(status);
    if !(troubles.is_empty() && notes.is_empty()) {
        text.push('\n');
    }
    for (word, sentences) in [("degraded", troubles), ("note", notes)] {
        for sentence in sentences {
            writeln!(text, "{word}: {}", clean(&sentence)).expect("a String takes all");
        }
    }
    text
}

/// Every reason to call the cluster degraded; none if all is well.
pub fn degraded(status: &Status) -> Vec<String> {
    let mut reasons = Vec::new();
    if !status.ready {
        reasons.push(format!("`{}` is not ready", status.node));
    }
    for member in &status.members {
        match member.state {
            MemberState::Suspect | MemberState::Dead => {
                reasons.push(format!("`{}` is {}", member.name, member.state.as_str()));
            }
            MemberState::Alive | MemberState::Left => {}
        }
    }
    if let Some(majority) = status.majority.as_ref().filter(|majority| majority.present < majority.needed) {
        reasons.push(format!(
            "no majority: {} of {} nodes are here, it takes {} to hold a VIP",
            majority.present, majority.expected_nodes, majority.needed
        ));
    }
    for vip in &status.vips {
        match (&vip.holder, vip.state) {
            (None, _) => reasons.push(format!("nobody holds `{}`", vip.name)),
            (Some(holder), VipState::Active) if *holder != status.node => {
                reasons.push(format!("`{}` and `{holder}` both hold `{}`", status.node, vip.name));
            }
            (Some(_), VipState::Active | VipState::Backup | VipState::Initialize) => {}
        }
    }
    for service in &status.services {
        for backend in service.backends.iter().filter(|backend| is_missed(backend)) {
            reasons.push(format!("`{}/{}` is down", service.name, backend.name));
        }
    }
    reasons
}

/// Whether a backend is down that nobody took out on purpose.
fn is_missed(backend: &Backend) -> bool {
    backend.admin != AdminState::Maint && backend.health == Health::Down
}

/// What is worth knowing and no reason for alarm.
pub(super) fn notes(status: &Status) -> Vec<String> {
    let own = status.members.iter().find(|member| member.own).map_or("", |own| &own.config);
    let differs = |config: &str| !config.is_empty() && !own.is_empty() && config != own;
    status
        .members
        .iter()
        .filter(|member| differs(&member.config))
        .map(|member| format!("`{}` has another configuration than `{}`", member.name, status.node))
        .collect()
}

fn members(status: &Status) -> Table {
    let mut table = Table::new(["MEMBER", "ADDRESS", "STATE", "VERSION", "CONFIG"]);
    for member in &status.members {
        let own = if member.own { " (asked)" } else { "" };
        let digest: String = member.config.chars().take(8).collect();
        table.row([
            format!("{}{own}", member.name),
            member.address.clone(),
            state(member),
            known(&member.version),
            known(&digest),
        ]);
    }
    table
}

fn state(member: &Member) -> String {
    if member.witness {
        return format!("{} (witness)", member.state.as_str());
    }
    match member.admin {
        Some(admin @ (AdminState::Drain | AdminState::Maint)) => {
            format!("{} ({})", member.state.as_str(), admin.as_str())
        }
        Some(AdminState::Ready) | None => member.state.as_str().to_owned(),
    }
}

fn vips(status: &Status) -> Table {
    let mut table = Table::new([
        "VIP",
        "ADDRESS",
        "INTERFACE",
        "HOLDER",
        "HERE",
        "PRIORITY",
        "TERM",
        "SINCE",
        "CANDIDATES",
    ]);
    for vip in &status.vips {
        let candidates: Vec<String> = vip
            .candidates
            .iter()
            .map(|candidate| {
                let barred = if candidate.eligible { "" } else { " (ineligible)" };
                format!("{} {}{barred}", candidate.node, candidate.effective_priority)
            })
            .collect();
        table.row([
            vip.name.clone(),
            vip.addresses.join(" "),
            vip.interface.clone(),
            vip.holder.clone().unwrap_or_else(|| "nobody".to_owned()),
            vip.state.as_str().to_owned(),
            format!("{} (base {})", vip.effective_priority, vip.base_priority),
            vip.term.to_string(),
            format!("{:.0}", vip.since),
            known(&candidates.join(", ")),
        ]);
    }
    table
}

fn services(status: &Status) -> Table {
    let mut table =
        Table::new(["SERVICE", "ADDRESS", "HEALTH", "AGREED", "ADMIN", "WEIGHT", "ACTIVE", "VIEWS"]);
    for service in &status.services {
        let none = String::new;
        table.row([
            service.name.clone(),
            none(),
            none(),
            none(),
            none(),
            none(),
            service.connections_active.to_string(),
            none(),
        ]);
        for backend in &service.backends {
            let views: Vec<String> =
                backend.views.iter().map(|(node, view)| format!("{node} {}", view.as_str())).collect();
            table.row([
                format!("  {}", backend.name),
                backend.address.clone(),
                backend.health.as_str().to_owned(),
                backend.agreed.as_str().to_owned(),
                backend.admin.as_str().to_owned(),
                backend.weight.to_string(),
                backend.connections_active.to_string(),
                known(&views.join(", ")),
            ]);
        }
    }
    table
}

fn known(value: &str) -> String {
    if value.is_empty() { "-".to_owned() } else { value.to_owned() }
}

/// Rows of cells; the first row is the head.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_owned).to_vec()] }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| clean(&cell)).to_vec());
    }

    /// Each column as wide as its widest cell, two spaces apart.
    fn write(&self, text: &mut String) {
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ").expect("a String takes all");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

/// Names come from other machines; nothing in them may move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::tests::SAMPLE;

    fn status() -> Status {
        serde_json::from_str(SAMPLE).expect("it is a status")
    }

    fn pair() -> Status {
        let mut status = status();
        status.members.push(Member {
            name: "ha2".to_owned(),
            address: "192.168.56.22".to_owned(),
            state: MemberState::Alive,
            version: "0.1.0".to_owned(),
            config: "5f2c".to_owned(),
            own: false,
            witness: false,
            admin: None,
        });
        status
    }

    #[test]
    fn a_healthy_cluster_is_three_tables() {
        assert_eq!(
            render(&pair()),
            "\
cluster myweb, seen from ha1 (ready), quorum none

MEMBER       ADDRESS        STATE  VERSION  CONFIG
ha1 (asked)  192.168.56.21  alive  0.1.0    5f2c
ha2          192.168.56.22  alive  0.1.0    5f2c

VIP   ADDRESS           INTERFACE  HOLDER  HERE    PRIORITY        TERM  SINCE                 CANDIDATES
vi_1  192.168.56.69/24  eth1       ha1     active  103 (base 101)  4     2026-11-22T10:00:00Z  ha1 103

SERVICE  ADDRESS           HEALTH  AGREED  ADMIN  WEIGHT  ACTIVE  VIEWS
myweb                                                     3
  web1   192.168.56.11:80  up      up      ready  1       2       ha1 up, ha2 up
"
        );
        assert!(degraded(&pair()).is_empty());
    }

    #[test]
    fn every_trouble_has_its_sentence() {
        let mut status = pair();
        status.ready = false;
        status.members[1].state = MemberState::Suspect;
        status.members[1].config = "77aa".to_owned();
        status.vips[0].holder = None;
        status.vips[0].state = VipState::Backup;
        status.services[0].backends[0].health = Health::Down;
        let text = render(&status);
        assert!(
            text.ends_with(
                "
degraded: `ha1` is not ready
degraded: `ha2` is suspect
degraded: nobody holds `vi_1`
degraded: `myweb/web1` is down
note: `ha2` has another configuration than `ha1`
"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_missing_majority_is_told_with_its_numbers() {
        let mut status = pair();
        let majority =
            |present| Some(super::super::status::Majority { expected_nodes: 3, needed: 2, present });
        status.majority = majority(2);
        assert_eq!(degraded(&status), Vec::<String>::new());
        status.majority = majority(1);
        status.vips[0].holder = None;
        assert_eq!(
            degraded(&status),
            ["no majority: 1 of 3 nodes are here, it takes 2 to hold a VIP", "nobody holds `vi_1`"]
        );
    }

    #[test]
    fn what_was_meant_is_no_trouble() {
        let mut status = pair();
        status.members[1].state = MemberState::Left;
        status.services[0].backends[0].health = Health::Down;
        status.services[0].backends[0].admin = AdminState::Maint;
        assert_eq!(degraded(&status), Vec::<String>::new());
    }

    #[test]
    fn a_drained_node_is_shown_as_such() {
        let mut status = pair();
        status.members[0].admin = Some(AdminState::Drain);
        status.members[1].admin = Some(AdminState::Ready);
        let text = render(&status);
        assert!(text.contains("ha1 (asked)  192.168.56.21  alive (drain)  0.1.0"), "{text}");
        assert!(text.contains("ha2          192.168.56.22  alive          0.1.0"), "{text}");
        assert!(degraded(&status).is_empty());
    }

    #[test]
    fn two_holders_are_a_trouble() {
        let mut status = pair();
        status.vips[0].holder = Some("ha2".to_owned());
        assert_eq!(degraded(&status), ["`ha1` and `ha2` both hold `vi_1`"]);
    }

    #[test]
    fn a_name_cant_move_the_cursor() {
        let mut status = pair();
        status.members[1].name = "\u{1b}[2Jha2\n".to_owned();
        status.members[1].state = MemberState::Dead;
        let text = render(&status);
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("degraded: `?[2Jha2?` is dead\n"), "{text}");
    }
}
