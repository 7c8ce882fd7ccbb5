//! `mirror plan`: what the mirror would create, change and delete, as a diff, without doing it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::{Failure, output};
use crate::app::mirror::access;
use crate::config::load::{Sources, load};
use crate::control::mirror::Mirror;
use crate::control::mirror::apply::Planned;
use crate::control::mirror::plan::MirrorPlan;
use crate::model::mirror::object::Object;
use crate::model::mirror::plan::Write;
use crate::observe::metrics::Metrics;

/// Arguments of `mirror`.
#[derive(Debug, clap::Args)]
pub struct MirrorArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print what the mirror would create, change and delete; write nothing.
    Plan(PlanArgs),
}

/// Arguments of `mirror plan`.
#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// The configuration file, else LINKERD_GATEWAY_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The kubeconfig of the cluster with the Links (kubernetes.kubeconfig).
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// The namespace of the Links (mirror.namespace).
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// How long clusters may take to answer; what is not decided then is said.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Runs `mirror`. The exit code is 0 whatever the plan says.
///
/// # Errors
/// Exit 64 when the configuration is wrong, 69 when the cluster with the Links cannot be asked.
pub fn mirror(args: &MirrorArgs) -> Result<(), Failure> {
    let Command::Plan(args) = &args.command;
    let mut sources = Sources::from_process(args.config.clone());
    let flags = [
        ("kubernetes.kubeconfig", &args.kubeconfig, "--kubeconfig"),
        ("mirror.namespace", &args.namespace, "--namespace"),
    ];
    for (key, value, flag) in flags {
        sources.flags.extend(value.clone().map(|value| (key.to_owned(), value, flag)));
    }
    if !sources.has_file() {
        // A plan probes nothing and proves nothing to anybody: it needs no certificate.
        let key = |key: &str| (format!("identity.{key}"), "/dev/null".to_owned(), "mirror plan");
        sources.flags.extend(["certificate", "key", "trust_anchors"].map(key));
    }
    let settings = load(&sources).map_err(Failure::usage)?.settings;
    let mirror = Mirror {
        access: access(&settings),
        settings: settings.mirror,
        dns: settings.dns,
        state: Arc::default(),
        metrics: Metrics::new(),
        contact: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let plan = runtime.block_on(mirror.plan(args.timeout)).map_err(Failure::unavailable)?;
    // A cluster that hangs must not keep us.
    runtime.shutdown_background();
    if plan.links == 0 && plan.writes.is_empty() && !plan.undecided.is_empty() {
        return Err(Failure::unavailable(anyhow!("no plan: {}", plan.undecided.join("; "))));
    }
    output::print(report(&plan).as_bytes())
}

fn report(plan: &MirrorPlan) -> String {
    let mut text = String::new();
    let (mut created, mut changed, mut deleted) = (0, 0, 0);
    for planned in &plan.writes {
        match &planned.write {
            Write::Create(_) => created += 1,
            Write::Update { .. } => changed += 1,
            Write::Delete { .. } => deleted += 1,
        }
        describe(&mut text, planned);
    }
    for undecided in &plan.undecided {
        line(&mut text, '!', &format!("not decided: {undecided}"));
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} Links; {created} to create, {changed} to change, {deleted} to delete; nothing was written",
        plan.links
    );
    text
}

fn describe(text: &mut String, planned: &Planned) {
    let before = planned.before.as_ref().map(pretty).unwrap_or_default();
    match &planned.write {
        Write::Create(object) => {
            line(text, '+', &format!("create {} {}", object.kind().label(), object.meta().key));
            pretty(object).iter().for_each(|added| line(text, '+', &format!("  {added}")));
        }
        Write::Update { object, .. } => {
            line(text, '~', &format!("change {} {}", object.kind().label(), object.meta().key));
            for (mark, changed) in difference(&before, &pretty(object)) {
                line(text, mark, &format!("  {changed}"));
            }
        }
        Write::Delete { kind, key, .. } => {
            line(text, '-', &format!("delete {} {key}", kind.label()));
        }
    }
}

fn line(text: &mut String, mark: char, content: &str) {
    let _ = writeln!(text, "{mark} {content}");
}

fn pretty(object: &Object) -> Vec<String> {
    let json = serde_json::to_string_pretty(&object.to_json(None)).unwrap_or_default();
    json.lines().map(str::to_owned).collect()
}

/// The lines that differ, by a longest common subsequence: objects are short.
fn difference(before: &[String], after: &[String]) -> Vec<(char, String)> {
    let (rows, columns) = (before.len(), after.len());
    let mut common = vec![vec![0_u32; columns + 1]; rows + 1];
    for (row, old) in before.iter().enumerate().rev() {
        for (column, new) in after.iter().enumerate().rev() {
            common[row][column] = match old == new {
                true => common[row + 1][column + 1] + 1,
                false => common[row + 1][column].max(common[row][column + 1]),
            };
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    while row < rows || column < columns {
        if row < rows && column < columns && before[row] == after[column] {
            (row, column) = (row + 1, column + 1);
        } else if column < columns
            && (row == rows || common[row][column + 1] > common[row + 1][column])
        {
            lines.push(('+', after[column].clone()));
            column += 1;
        } else {
            lines.push(('-', before[row].clone()));
            row += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_goes_and_what_comes() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let found = difference(&lines("a b c d"), &lines("a x c d e"));
        let expected = [('-', "b"), ('+', "x"), ('+', "e")];
        assert_eq!(found, expected.map(|(mark, text)| (mark, text.to_owned())));
        assert_eq!(difference(&lines("a b"), &lines("a b")), []);
        assert_eq!(difference(&[], &lines("a")), [('+', "a".to_owned())]);
    }
}
