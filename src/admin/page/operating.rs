//! What an operator can say from the page; all of it takes a script and a token, and is hidden without.

use maud::{Markup, html};

use crate::admin::administration::{Setting, Subject, Words};
use crate::admin::status::{AdminState, Vip};

/// What can be said of a node or a backend.
pub(super) fn buttons(kind: &str, name: &str) -> Markup {
    html! {
        @for state in [AdminState::Drain, AdminState::Maint, AdminState::Ready] {
            button type="button" data-kind=(kind) data-name=(name) data-state=(state.as_str())
                aria-label=(format!("{} {name}", state.as_str())) { (state.as_str()) }
        }
    }
}

/// Where a VIP is to be: what was said of that, and a button to say something else, if there is anything to say.
pub(super) fn mover(vip: &Vip, words: &Words) -> Markup {
    let pinned = words.words.iter().find_map(|word| match (&word.target, &word.setting) {
        (Subject::Vip(name), Setting::Holder(Some(node))) if *name == vip.name => Some(node),
        _ => None,
    });
    let others: Vec<&str> = vip
        .candidates
        .iter()
        .filter(|candidate| candidate.eligible && vip.holder.as_ref() != Some(&candidate.node))
        .map(|candidate| candidate.node.as_str())
        .collect();
    let idle = others.is_empty() && pinned.is_none();
    html! {
        @if let Some(node) = pinned { p.more { "wanted on " strong { (node) } } }
        p.act {
            // Names have no spaces in them.
            button type="button" data-kind="vip" data-name=(vip.name) data-state="move" data-to=(others.join(" "))
                data-home=[pinned.map(|_| "")] disabled[idle] title=[idle.then_some("nobody else could hold it")]
                aria-label=(format!("move {}", vip.name)) { "move" }
        }
    }
}

/// Where the token goes, and the dialog that asks before anything is said.
pub(super) fn operating(operable: bool) -> Markup {
    html! {
        section #operate hidden aria-labelledby="operate-title" {
            h2 #operate-title { "Operate" }
            @if operable {
                form {
                    label { "Token " input type="password" name="token" autocomplete="off" required; }
                    button { "Show the buttons" }
                }
            } @else {
                p { "Nothing can be changed from here: this node has no " code { "admin.token_file" } "." }
            }
            p #said role="status" {}
        }
        dialog #ask aria-labelledby="ask-title" {
            h2 #ask-title {}
            p #ask-meaning {}
            label { "To " select #ask-to {} }
            label {
                "For " select #ask-for {
                    option value="" { "until something else is said" }
                    @for lasting in ["10m", "30m", "2h", "8h"] { option value=(lasting) { (lasting) } }
                }
            }
            p.choice {
                button #ask-no type="button" { "Leave it" }
                button #ask-yes type="button" { "Do it" }
            }
        }
    }
}
