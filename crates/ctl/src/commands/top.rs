//! `top`: what nodes and pods use, from the metrics API where an add-on serves it.
//!
//! **Upstream.** `kubectl/pkg/cmd/top` (behaviour).

use api::quantity::Quantity;
use clap::ArgMatches;
use serde_json::Value;

use super::{Command, Context};
use crate::cli::{self, value, values};
use crate::connection::{JSON, encode, with_query};
use crate::output::tabwriter::TabWriter;
use crate::report::{Error, message};

/// The row of THE LIST.
pub(crate) const COMMAND: Command =
    Command { name: "top", build, run: |context, matches| Box::pin(run(context, matches)) };

const METRICS: &str = "metrics.k8s.io";
const MEBI: i64 = 1024 * 1024;

fn build(command: clap::Command) -> clap::Command {
    let sub = |name: &'static str, alias: &'static [&'static str], about: &'static str| {
        clap::Command::new(name)
            .visible_aliases(alias)
            .about(about)
            .args_override_self(true)
            .arg(cli::arguments("[NAME | -l label]"))
            .arg(cli::text("selector", "Selector (label query) to filter on").short('l').default_value(""))
            .arg(cli::text(
                "sort-by",
                "If non-empty, sort list using specified field. The field can be either 'cpu' or 'memory'.",
            ))
            .arg(cli::flag("no-headers", "If present, print output without headers"))
            .arg(cli::flag(
                "show-swap",
                if name == "node" {
                    "Print node resources related to swap memory."
                } else {
                    "Print pod resources related to swap memory."
                },
            ))
            .arg(cli::flag_on(
                "use-protocol-buffers",
                "Enables using protocol-buffers to access Metrics API.",
            ))
    };
    command
        .about("Display resource (CPU/memory) usage")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(sub("node", &["nodes", "no"], "Display resource (CPU/memory) usage of nodes").arg(
            cli::flag(
                "show-capacity",
                "Print node resources based on Capacity instead of Allocatable(default) of the nodes.",
            ),
        ))
        .subcommand(
            sub("pod", &["pods", "po"], "Display resource (CPU/memory) usage of pods")
                .arg(cli::text("field-selector", "Selector (field query) to filter on").default_value(""))
                .arg(cli::all_namespaces())
                .arg(cli::flag("containers", "If present, print usage of containers within a pod."))
                .arg(cli::flag("sum", "Print the sum of the resource usage")),
        )
}

async fn run(context: &Context, matches: &ArgMatches) -> Result<(), Error> {
    let Some((word, matches)) = matches.subcommand() else { return Ok(()) };
    let sort = value(matches, "sort-by");
    if !matches!(sort, "" | "cpu" | "memory") {
        return Err(message("--sort-by accepts only cpu or memory"));
    }
    let names = values(matches, "arguments");
    if names.len() > 1 {
        return Err(message(format!(
            "unexpected arguments: {}\nSee 'kctl top {word} -h' for help and examples",
            names[1..].join(" ")
        )));
    }
    if !names.is_empty() && !value(matches, "selector").is_empty() {
        return Err(message("only one of NAME or selector can be provided"));
    }
    // JSON says the same, and is all that is spoken here; the flag may only be switched as kubectl's.
    let _ = matches.get_flag("use-protocol-buffers");
    let served = context.discovery().await?.groups.iter().any(|(group, versions)| {
        group == METRICS && versions.iter().any(|(version, _)| matches!(version.as_str(), "v1beta1" | "v1"))
    });
    if !served {
        return Err(message("Metrics API not available"));
    }
    if word == "node" {
        nodes(context, matches, names.first()).await
    } else {
        pods(context, matches, names.first()).await
    }
}

/// Millicores, bytes of memory, bytes of swap.
type Usage = (i64, i64, i64);

fn usage(value: &Value) -> Usage {
    let amount = |name: &str| value[name].as_str().and_then(|text| text.parse::<Quantity>().ok());
    let bytes = |name: &str| amount(name).map_or(0, Quantity::value);
    (amount("cpu").map_or(0, Quantity::millis), bytes("memory"), bytes("swap"))
}

/// One object or the items of a list.
async fn metrics(
    context: &Context,
    path: &str,
    name: Option<&String>,
    query: &[(&str, String)],
) -> Result<Vec<Value>, Error> {
    let connection = context.connection().await?;
    if let Some(name) = name {
        return Ok(vec![connection.get(&format!("{path}/{}", encode(name)), JSON).await?]);
    }
    let mut list = connection.get(&with_query(path, query), JSON).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

fn sort(rows: &mut [(String, Usage, String)], by: &str) {
    rows.sort_by(|left, right| match by {
        "cpu" => right.1.0.cmp(&left.1.0),
        "memory" => right.1.1.cmp(&left.1.1),
        _ => left.0.cmp(&right.0),
    });
}

async fn nodes(context: &Context, matches: &ArgMatches, name: Option<&String>) -> Result<(), Error> {
    let selector = [("labelSelector", value(matches, "selector").to_owned())];
    let found = metrics(context, "/apis/metrics.k8s.io/v1beta1/nodes", name, &selector).await?;
    if found.is_empty() {
        return Err(message("metrics not available yet"));
    }
    let nodes = metrics(context, "/api/v1/nodes", name, &selector).await?;
    let swap = matches.get_flag("show-swap");
    let field = if matches.get_flag("show-capacity") { "capacity" } else { "allocatable" };
    let mut rows = Vec::new();
    for node in &nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or("").to_owned();
        let Some(one) = found.iter().find(|one| one["metadata"]["name"] == name.as_str()) else {
            rows.push((name, (0, 0, 0), "<unknown>\t<unknown>\t".repeat(2 + usize::from(swap)) + "\n"));
            continue;
        };
        let (used, whole) = (usage(&one["usage"]), usage(&node["status"][field]));
        let percent = |part: i64, whole: i64| if whole == 0 { 0 } else { part * 100 / whole };
        let mut cells = format!(
            "{}m\t{}%\t{}Mi\t{}%\t",
            used.0,
            percent(used.0, whole.0),
            used.1 / MEBI,
            percent(used.1, whole.1)
        );
        if swap {
            cells += &match node["status"]["nodeInfo"]["swap"]["capacity"].as_i64() {
                Some(whole) => format!("{}Mi\t{}%\t", used.2 / MEBI, percent(used.2, whole)),
                None => "<unknown>\t<unknown>\t".to_owned(),
            };
        }
        rows.push((name, used, cells + "\n"));
    }
    sort(&mut rows, value(matches, "sort-by"));
    let swap = if swap { "SWAP(bytes)\tSWAP(%)\t" } else { "" };
    let head = format!("NAME\tCPU(cores)\tCPU(%)\tMEMORY(bytes)\tMEMORY(%)\t{swap}\n");
    print(context, matches, &head, &rows, "")
}

async fn pods(context: &Context, matches: &ArgMatches, name: Option<&String>) -> Result<(), Error> {
    let everywhere = matches.get_flag("all-namespaces");
    let place = if everywhere { String::new() } else { format!("/namespaces/{}", context.namespace()) };
    let query = [
        ("fieldSelector", value(matches, "field-selector").to_owned()),
        ("labelSelector", value(matches, "selector").to_owned()),
    ];
    let found = metrics(context, &format!("/apis/metrics.k8s.io/v1beta1{place}/pods"), name, &query).await?;
    if found.is_empty() {
        let text = if everywhere {
            "No resources found\n".to_owned()
        } else {
            format!("No resources found in {} namespace.\n", context.namespace())
        };
        context.terminal.err(&text);
        return Ok(());
    }
    let by_container = matches.get_flag("containers");
    let swap = matches.get_flag("show-swap");
    let amounts = |used: Usage| {
        let swap = if swap { format!("{}Mi\t", used.2 / MEBI) } else { String::new() };
        format!("{}m\t{}Mi\t{swap}\n", used.0, used.1 / MEBI)
    };
    let (mut rows, mut sum) = (Vec::new(), (0, 0, 0));
    for pod in &found {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or("");
        let lead = if everywhere { format!("{}\t", text("namespace")) } else { String::new() };
        let key = format!("{}/{}", text("namespace"), text("name"));
        let cells = |used: Usage, middle: &str| format!("{lead}{middle}{}", amounts(used));
        let mut whole = (0, 0, 0);
        for container in pod["containers"].as_array().into_iter().flatten() {
            let used = usage(&container["usage"]);
            whole = (whole.0 + used.0, whole.1 + used.1, whole.2 + used.2);
            if by_container {
                let middle = format!("{}\t{}\t", text("name"), container["name"].as_str().unwrap_or(""));
                rows.push((key.clone(), used, cells(used, &middle)));
            }
        }
        sum = (sum.0 + whole.0, sum.1 + whole.1, sum.2 + whole.2);
        if !by_container {
            rows.push((key, whole, cells(whole, &format!("{}\t", text("name")))));
        }
    }
    sort(&mut rows, value(matches, "sort-by"));
    let space = if everywhere { "NAMESPACE\t" } else { "" };
    let columns = if by_container { "POD\tNAME\t" } else { "NAME\t" };
    let total = if matches.get_flag("sum") {
        // As kubectl counts them: columns without a header do not count, and there are two lines whatever there is.
        let named = |column: bool| usize::from(column && !matches.get_flag("no-headers"));
        let width = 3 + usize::from(swap) + named(everywhere) + named(by_container);
        let before = "\t".repeat(width - 2);
        format!("{before}________\t________\t\n{before}{}", amounts(sum))
    } else {
        String::new()
    };
    let rows: Vec<(String, Usage, String)> =
        rows.into_iter().map(|(_, used, cells)| (String::new(), used, cells)).collect();
    print(
        context,
        matches,
        &format!("{space}{columns}CPU(cores)\tMEMORY(bytes)\t{}\n", if swap { "SWAP(bytes)\t" } else { "" }),
        &rows,
        &total,
    )
}

fn print(
    context: &Context,
    matches: &ArgMatches,
    head: &str,
    rows: &[(String, Usage, String)],
    total: &str,
) -> Result<(), Error> {
    let mut text = if matches.get_flag("no-headers") { String::new() } else { head.to_owned() };
    for (name, _, cells) in rows {
        if !name.is_empty() {
            text += &format!("{name}\t");
        }
        text += cells;
    }
    context.terminal.out(&TabWriter::table().align(&(text + total)))
}
