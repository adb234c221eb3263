//! The file's shape: what the text says, measured against the table of options.
//!
//! Every mistake is noted and the rest read on, so that one look finds them all. What comes out holds a value
//! wherever the file's is right or a default stands in; a key that was wrong is missing in it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::options::{Absent, Kind, Setting};
use super::report::{Findings, did_you_mean, shown};
use super::syntax;
use super::values::{self, Misfit, Scalar};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// Values by node, each with its place.
pub(super) type ByNode<T> = Vec<(At<String>, At<T>)>;

/// One table of the file.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Its header.
    pub(super) span: Range<usize>,
    entries: Vec<Entry>,
    /// The keys that are there, right or wrong.
    mentioned: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry {
    key: &'static str,
    /// Of the value; of the section's header where a default stands in.
    span: Range<usize>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Scalar(Scalar),
    List(Vec<At<Scalar>>),
    Nodes { all: Option<Scalar>, nodes: ByNode<Scalar> },
    Section(Section),
    Sections(Vec<Section>),
}

/// Reads the text as far as it goes.
pub(super) fn read(text: &str, findings: &mut Findings<'_>) -> Section {
    let (table, errors) = DeTable::parse_recoverable(text);
    syntax::note(&errors, findings);
    Reader { findings }.section("", table.get_ref(), 0..0)
}

impl Section {
    /// The value at `key`; nothing where the file has none, or a wrong one.
    pub(super) fn get<T: FromScalar>(&self, key: &str) -> Option<T> {
        match &self.entry(key)?.value {
            Value::Scalar(scalar) => T::from_scalar(scalar),
            Value::List(_) | Value::Nodes { .. } | Value::Section(_) | Value::Sections(_) => None,
        }
    }

    /// The value at `key`, with its place.
    pub(super) fn get_at<T: FromScalar>(&self, key: &str) -> Option<At<T>> {
        Some(At { value: self.get(key)?, span: self.span_of(key) })
    }

    /// The list at `key`, without those that were wrong.
    pub(super) fn list<T: FromScalar>(&self, key: &str) -> Vec<At<T>> {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::List(list)) => list
                .iter()
                .filter_map(|at| Some(At { value: T::from_scalar(&at.value)?, span: at.span.clone() }))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The value for all nodes, and those for single ones.
    pub(super) fn nodes<T: FromScalar>(&self, key: &str) -> (Option<T>, ByNode<T>) {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Nodes { all, nodes }) => {
                let read = |(name, at): &(At<String>, At<Scalar>)| {
                    Some((name.clone(), At { value: T::from_scalar(&at.value)?, span: at.span.clone() }))
                };
                (all.as_ref().and_then(T::from_scalar), nodes.iter().filter_map(read).collect())
            }
            _ => (None, Vec::new()),
        }
    }

    /// The table at `key`.
    pub(super) fn section(&self, key: &str) -> Option<&Section> {
        match &self.entry(key)?.value {
            Value::Section(section) => Some(section),
            Value::Scalar(_) | Value::List(_) | Value::Nodes { .. } | Value::Sections(_) => None,
        }
    }

    /// The tables at `key`.
    pub(super) fn sections(&self, key: &str) -> &[Section] {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Sections(sections)) => sections,
            _ => &[],
        }
    }

    /// Whether the file has something right at `key`, or a default stands in.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where the value at `key` stands; the header if nowhere.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.entry(key).map_or(&self.span, |entry| &entry.span).clone()
    }

    /// Whether the file has anything at `key`, right or wrong.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.mentioned.contains(&key)
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// What a [`Scalar`] can be taken as.
pub(super) trait FromScalar: Sized {
    fn from_scalar(scalar: &Scalar) -> Option<Self>;
}

macro_rules! from_scalar {
    ($($type:ty, $variant:ident;)*) => {
        $(impl FromScalar for $type {
            fn from_scalar(scalar: &Scalar) -> Option<Self> {
                if let Scalar::$variant(value) = scalar { Some(value.clone()) } else { None }
            }
        })*
    };
}

from_scalar! {
    String, Text;
    i64, Whole;
    bool, Flag;
    std::time::Duration, Time;
    std::net::IpAddr, Ip;
    super::VipAddress, Vip;
    Option<std::net::SocketAddr>, Socket;
    super::Endpoint, Endpoint;
}

struct Reader<'f, 't> {
    findings: &'f mut Findings<'t>,
}

impl Reader<'_, '_> {
    fn section(&mut self, path: &str, table: &DeTable<'_>, span: Range<usize>) -> Section {
        let mut section = Section { span, ..Section::default() };
        for (key, value) in table {
            match Setting::below(path).find(|setting| setting.key() == key.get_ref().as_ref()) {
                Some(setting) => {
                    section.mentioned.push(setting.key());
                    if let Some(found) = self.value(setting, value) {
                        section.entries.push(Entry { key: setting.key(), span: value.span(), value: found });
                    }
                }
                None => self.unknown_key(path, key),
            }
        }
        for setting in Setting::below(path) {
            if !table.contains_key(setting.key()) {
                self.absent(setting, path, &mut section);
            }
        }
        section
    }

    fn value(&mut self, setting: &'static Setting, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        match (setting.kind, value.get_ref()) {
            (Kind::Table | Kind::Inline, DeValue::Table(table)) => {
                Some(Value::Section(self.section(setting.path, table, value.span())))
            }
            (Kind::Table, DeValue::Array(list)) => {
                let key = setting.key();
                self.findings.problem(
                    &value.span(),
                    format!("`[[{key}]]` stands for many, and there is one"),
                    format!("write `[{key}]`, once"),
                );
                let table = list.iter().find_map(|item| item.get_ref().as_table())?;
                Some(Value::Section(self.section(setting.path, table, value.span())))
            }
            (Kind::Tables | Kind::Rows, DeValue::Array(list)) => {
                Some(Value::Sections(self.rows(setting, list)))
            }
            (Kind::Tables, DeValue::Table(table)) => {
                let path = setting.path;
                self.findings.problem(
                    &value.span(),
                    format!("`[{path}]` stands for one, and there can be many"),
                    format!("write `[[{path}]]`, and again for each"),
                );
                Some(Value::Sections(vec![self.section(path, table, value.span())]))
            }
            (Kind::List(kind) | Kind::NonEmpty(kind), DeValue::Array(list)) => {
                if list.is_empty() && matches!(setting.kind, Kind::NonEmpty(_)) {
                    let misfit = Misfit { message: "can't be empty".into(), hint: example(setting) };
                    self.misfit(setting, &value.span(), misfit);
                    return None;
                }
                let items = list.iter().filter_map(|item| self.scalar(setting, *kind, item));
                Some(Value::List(items.collect()))
            }
            (Kind::PerNode(_), DeValue::Table(table))
                if table.is_empty() && matches!(setting.absent, Absent::Required(_)) =>
            {
                let misfit = Misfit { message: "names no node".into(), hint: example(setting) };
                self.misfit(setting, &value.span(), misfit);
                None
            }
            (Kind::PerNode(kind) | Kind::ByNode(kind), DeValue::Table(table)) => {
                let nodes = self.by_node(setting, *kind, table);
                // Nodes that aren't named have what counts when nothing is said at all.
                let all = match setting.absent {
                    Absent::Default(text) => default_scalar(*kind, text),
                    Absent::Required(_) | Absent::Optional(_) | Absent::Aside(_) => None,
                };
                Some(Value::Nodes { all, nodes })
            }
            (Kind::PerNode(kind), _) => {
                let all = self.scalar(setting, *kind, value)?.value;
                Some(Value::Nodes { all: Some(all), nodes: Vec::new() })
            }
            (kind, _) => Some(Value::Scalar(self.scalar(setting, kind, value)?.value)),
        }
    }

    fn rows(&mut self, setting: &'static Setting, list: &DeArray<'_>) -> Vec<Section> {
        let mut rows = Vec::new();
        for item in list {
            if let DeValue::Table(table) = item.get_ref() {
                rows.push(self.section(setting.path, table, item.span()));
            } else {
                let message = "each entry is a table in braces".to_owned();
                self.misfit(setting, &item.span(), Misfit { message, hint: example(setting) });
            }
        }
        rows
    }

    fn by_node(&mut self, setting: &'static Setting, kind: Kind, table: &DeTable<'_>) -> ByNode<Scalar> {
        let mut nodes = Vec::new();
        for (key, value) in table {
            match values::name(key.get_ref()) {
                // `ha1.example = …` is a table `ha1` with a key `example`.
                Ok(name) if matches!(value.get_ref(), DeValue::Table(_)) => {
                    let message = format!("{} is a table", shown(&name));
                    let hint = format!("a name with dots is written in quotes: \"{name}.…\"");
                    self.misfit(setting, &key.span(), Misfit::new(message, hint));
                }
                Ok(name) => {
                    let found = self.scalar(setting, kind, value);
                    nodes.extend(found.map(|found| (At { value: name, span: key.span() }, found)));
                }
                Err(misfit) => self.misfit(setting, &key.span(), misfit),
            }
        }
        nodes
    }

    fn scalar(
        &mut self,
        setting: &'static Setting,
        kind: Kind,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<At<Scalar>> {
        match values::scalar(kind, value.get_ref()) {
            Ok(scalar) => Some(At { value: scalar, span: value.span() }),
            Err(misfit) => {
                let hint = misfit.hint.or_else(|| example(setting));
                self.misfit(setting, &value.span(), Misfit { hint, ..misfit });
                None
            }
        }
    }

    fn misfit(&mut self, setting: &Setting, span: &Range<usize>, misfit: Misfit) {
        let Misfit { message, hint } = misfit;
        let message = match setting.kind {
            Kind::Later(_) => format!("`{}` is {message}", setting.path),
            _ => format!("`{}`: {message}", setting.path),
        };
        self.findings.problem(span, message, hint);
    }

    fn unknown_key(&mut self, path: &str, key: &Spanned<DeString<'_>>) {
        let known = || Setting::below(path).filter(|s| !matches!(s.kind, Kind::Later(_))).map(Setting::key);
        let hint = match did_you_mean(key.get_ref(), known()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("there are {}", known().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
        };
        let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
        self.findings.problem(&key.span(), format!("unknown key {}{place}", shown(key.get_ref())), hint);
    }

    fn absent(&mut self, setting: &'static Setting, path: &str, section: &mut Section) {
        let value = match (setting.kind, setting.absent) {
            (Kind::Table, Absent::Required(_)) => {
                let keys =
                    Setting::below(setting.path).filter(|key| matches!(key.absent, Absent::Required(_)));
                let keys: Vec<String> = keys.map(|key| format!("`{}`", key.key())).collect();
                let hint = format!("add it, with {}", keys.join(" and "));
                self.findings.absence(&section.span, format!("missing `[{}]`", setting.path), hint);
                return;
            }
            // Its defaults are those of its keys.
            (Kind::Table | Kind::Inline, _) => {
                Value::Section(self.section(setting.path, &DeTable::new(), section.span.clone()))
            }
            (_, Absent::Required(_)) => {
                let message = format!("missing `{}` in `{path}`", setting.key());
                self.findings.absence(&section.span, message, example(setting));
                return;
            }
            (_, Absent::Optional(_) | Absent::Aside(_)) => return,
            (Kind::PerNode(kind), Absent::Default(text)) => {
                Value::Nodes { all: default_scalar(*kind, text), nodes: Vec::new() }
            }
            (kind, Absent::Default(text)) => match default_scalar(kind, text) {
                Some(scalar) => Value::Scalar(scalar),
                None => return,
            },
        };
        section.entries.push(Entry { key: setting.key(), span: section.span.clone(), value });
    }
}

/// A default, read as the file's values are. That each is right is a test of the table.
fn default_scalar(kind: Kind, text: &'static str) -> Option<Scalar> {
    values::scalar(kind, DeValue::parse(text).ok()?.get_ref()).ok()
}

fn example(setting: &Setting) -> Option<String> {
    let sample = setting.sample();
    match setting.kind {
        _ if sample.is_empty() => None,
        // Its keys are the nodes' names.
        Kind::ByNode(_) => Some(format!("for example `{}`", sample.lines().next().unwrap_or_default())),
        _ => Some(format!("for example `{} = {sample}`", setting.key())),
    }
}
