//! `minik image ls`: what images there are.

use crate::commands::CommandContext;
use anyhow::{Context as _, Result};
use runtime::{Image, ImageService, reference};
use runtime_docker::DockerRuntime;
use serde_json::{Value, json};

/// List the images that pods can use
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    /// A full name a line
    #[default]
    Short,
    /// Name, tag, id and size in columns
    Table,
    /// Objects as minikube writes them
    Json,
    /// The same as YAML
    Yaml,
}

pub(super) async fn run(cx: &CommandContext, engine: &DockerRuntime, arguments: &Arguments) -> Result<()> {
    let images = engine.list_images().await?;
    match arguments.format {
        Format::Short => named(&images).iter().for_each(|(name, _)| cx.terminal.line(name)),
        Format::Table => table(&images).iter().for_each(|line| cx.terminal.line(line)),
        Format::Json => {
            let text = serde_json::to_string(&as_json(&images)).context("write the images")?;
            cx.terminal.line(&text);
        }
        Format::Yaml => {
            let text = serde_saphyr::to_string(&as_json(&images)).context("write the images")?;
            cx.terminal.line(text.trim_end());
        }
    }
    Ok(())
}

/// A name as upstream's tools write it, with the registry.
fn full(name: &str) -> String {
    match reference::parse(name) {
        Ok(name) => format!("{}/{}:{}", name.registry, name.repository, name.tag.unwrap_or_default()),
        Err(_) => name.to_owned(),
    }
}

/// Every name with its image, in order.
fn named(images: &[Image]) -> Vec<(String, &Image)> {
    let names = images.iter().flat_map(|image| image.repo_tags.iter().map(move |tag| (full(tag), image)));
    let mut names: Vec<_> = names.collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names
}

fn table(images: &[Image]) -> Vec<String> {
    let head = ["IMAGE", "TAG", "IMAGE ID", "SIZE"].map(str::to_owned);
    let rows = named(images).into_iter().map(|(name, image)| {
        let (name, tag) = name.rsplit_once(':').unwrap_or((&name, ""));
        let id = image.id.as_str().trim_start_matches("sha256:").chars().take(13).collect();
        [name.to_owned(), tag.to_owned(), id, size(image.size)]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 4]| {
        let [name, tag, id, size] = row;
        format!("{name:<0$}   {tag:<1$}   {id:<2$}   {size}", widths[0], widths[1], widths[2])
    };
    rows.iter().map(line).collect()
}

/// `4.26MB`, as Docker writes sizes.
fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 1000.0 {
            let digits = if amount < 10.0 { 2 } else { usize::from(amount < 100.0) };
            return if unit == "B" { format!("{bytes}B") } else { format!("{amount:.digits$}{unit}") };
        }
        amount /= 1000.0;
    }
    format!("{amount:.2}TB")
}

fn as_json(images: &[Image]) -> Value {
    let one = |image: &Image| {
        json!({
            "id": image.id.as_str().trim_start_matches("sha256:"),
            "repoDigests": image.repo_digests,
            "repoTags": image.repo_tags.iter().map(|tag| full(tag)).collect::<Vec<_>>(),
            "size": image.size.to_string(),
        })
    };
    images.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_full_names_in_order_and_sizes_as_docker_does() {
        let image = |tags: &[&str], size| Image {
            id: runtime::ImageId::from(format!("sha256:{}", "ab".repeat(32))),
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            repo_digests: vec![],
            size,
            uid: None,
            username: None,
        };
        let images = [
            image(&["nginx:1", "localhost:5000/a/b:c"], 187_300_000),
            image(&[], 1),
            image(&["busybox:latest"], 4_260_000),
        ];
        let expected = [
            "IMAGE                       TAG      IMAGE ID        SIZE",
            "docker.io/library/busybox   latest   ababababababa   4.26MB",
            "docker.io/library/nginx     1        ababababababa   187MB",
            "localhost:5000/a/b          c        ababababababa   187MB",
        ];
        assert_eq!(table(&images), expected);
        assert_eq!([size(999), size(42_000), size(1_500_000_000)], ["999B", "42.0kB", "1.50GB"]);
    }
}
