//! The story of a build: the objects of a folder and of those below it, each changed by its kustomization; then hashes,
//! references and the order, once for all.
//!
//! **Upstream.** `kustomize/api/internal/target/kusttarget.go` (the order of the steps).

use std::path::Path;

use serde_json::Value;

use crate::config::{Config, FieldSpec};
use crate::generate::{self, What};
use crate::kustomization::{COMPONENT, Kustomization, Label};
use crate::load::Loader;
use crate::resource::{Resource, Set, objects};
use crate::transform::{self, End};
use crate::{Error, LoadRestrictor, MANAGED_BY, Parse, invalid, order, patch, references, replace};

/// An object with this annotation is for tools, not for the cluster.
const LOCAL: &str = "config.kubernetes.io/local-config";

/// Objects, and what `configurations` have said so far.
#[derive(Default)]
struct Accumulated {
    set: Set,
    config: Config,
}

pub(crate) fn build(
    folder: &Path,
    restrictor: LoadRestrictor,
    parse: Parse,
    warn: &mut dyn FnMut(&str),
) -> Result<Vec<Value>, Error> {
    let loader = Loader::new(folder, restrictor, parse)?;
    let kustomization = read(&loader, warn)?;
    let Accumulated { mut set, config } = accumulate(&loader, &kustomization, Accumulated::default(), warn)?;
    generate::add_hashes(&mut set);
    references::mend(&mut set, &with_built_in(&config))?;
    set.0.retain(|one| {
        one.object["metadata"]["annotations"][LOCAL].as_str().is_none_or(|text| text == "false")
    });
    order::sort(&mut set, kustomization.sort_options.as_ref())?;
    if kustomization.build_metadata.iter().any(|option| option == "managedByLabel") {
        let label = [("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned())].into();
        let place = FieldSpec { path: "metadata/labels".to_owned(), create: true, ..FieldSpec::default() };
        transform::pairs(&mut set, &label, &[place])?;
    }
    Ok(set.0.into_iter().map(|one| one.object).collect())
}

fn read(loader: &Loader, warn: &mut dyn FnMut(&str)) -> Result<Kustomization, Error> {
    Kustomization::read(loader.kustomization()?, &loader.root().display().to_string(), warn)
}

fn with_built_in(config: &Config) -> Config {
    let mut whole = Config::built_in();
    whole.merge(config);
    whole
}

/// One kustomization; a component starts with what its parent has.
fn accumulate(
    loader: &Loader,
    kustomization: &Kustomization,
    mut so_far: Accumulated,
    warn: &mut dyn FnMut(&str),
) -> Result<Accumulated, Error> {
    for path in &kustomization.resources {
        resource(loader, path, &mut so_far, warn).map_err(|error| error.within("accumulating resources"))?;
    }
    for path in &kustomization.configurations {
        let documents = loader.settings(&loader.text(path)?).map_err(Error::Invalid)?;
        for document in documents {
            so_far.config.merge(&Config::read(document, path)?);
        }
    }
    for (what, generators) in [
        (What::ConfigMap, &kustomization.config_map_generator),
        (What::Secret, &kustomization.secret_generator),
    ] {
        for generator in generators {
            let made = generate::generate(loader, what, generator, kustomization.generator_options.as_ref())?;
            generate::absorb(&mut so_far.set, made, generator.behavior)
                .map_err(|error| error.within("merging from generator"))?;
        }
    }
    for path in &kustomization.components {
        so_far =
            component(loader, path, so_far, warn).map_err(|error| error.within("accumulating components"))?;
    }
    transform(loader, kustomization, &mut so_far)?;
    Ok(so_far)
}

/// A file with objects, or a folder with another kustomization.
fn resource(
    loader: &Loader,
    path: &str,
    so_far: &mut Accumulated,
    warn: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let malformed = |error: String| Error::Invalid(format!("MalformedYAMLError: {error} in File: {path}"));
    let from_file = loader
        .text(path)
        .and_then(|text| loader.documents(&text).map_err(malformed))
        .and_then(objects)
        .map_err(|error| error.within(format!("accumulating resources from '{path}'")));
    let no_file = match from_file {
        Ok(found) => {
            let found = found.into_iter().map(Resource::new).collect();
            return so_far
                .set
                .append_all(found)
                .map_err(|error| error.within(format!("merging resources from '{path}'")));
        }
        Err(error) if error.to_string().contains("MalformedYAMLError") => return Err(error),
        Err(error) => error,
    };
    let both = |error: Error| error.within(format!("accumulation err='{no_file}'"));
    let below = loader.descend(path).map_err(both)?;
    let kustomization = read(&below, warn).map_err(|error| {
        both(error.within(format!("couldn't make target for path '{}'", below.root().display())))
    })?;
    if kustomization.kind == COMPONENT {
        return Err(both(Error::Invalid(format!(
            "expected kind != '{COMPONENT}' for path '{}'",
            below.root().display()
        ))));
    }
    let found = accumulate(&below, &kustomization, Accumulated::default(), warn).map_err(|error| {
        both(error.within(format!("recursed accumulation of path '{}'", below.root().display())))
    })?;
    so_far.config.merge(&found.config);
    so_far.set.append_all(found.set.0).map_err(|error| {
        both(error.within(format!("recursed merging from path '{}'", below.root().display())))
    })
}

fn component(
    loader: &Loader,
    path: &str,
    so_far: Accumulated,
    warn: &mut dyn FnMut(&str),
) -> Result<Accumulated, Error> {
    let below = loader.descend(path).map_err(|error| Error::Invalid(format!("loader.New \"{error}\"")))?;
    let root = below.root().display().to_string();
    let quoted = |error: Error| Error::Invalid(format!("accumulateDirectory: \"{error}\""));
    let kustomization = read(&below, warn)
        .map_err(|error| quoted(error.within(format!("couldn't make target for path '{root}'"))))?;
    if kustomization.kind != COMPONENT {
        return invalid(format!(
            "accumulateDirectory: \"expected kind '{COMPONENT}' for path '{root}' but got '{}'\"",
            kustomization.kind
        ));
    }
    accumulate(&below, &kustomization, so_far, warn)
        .map_err(|error| quoted(error.within(format!("recursed accumulation of path '{root}'"))))
}

/// The transformers, in kustomize's order.
fn transform(loader: &Loader, kustomization: &Kustomization, so_far: &mut Accumulated) -> Result<(), Error> {
    let config = with_built_in(&so_far.config);
    let set = &mut so_far.set;
    for text in &kustomization.patches_strategic_merge {
        patch::apply_strategic(set, loader, text)?;
    }
    for one in &kustomization.patches {
        patch::apply(set, loader, one)?;
    }
    if !kustomization.namespace.is_empty() {
        transform::namespace(set, &kustomization.namespace, &config)?;
    }
    if !kustomization.name_prefix.is_empty() {
        transform::rename(set, &kustomization.name_prefix, End::Prefix, &config)?;
    }
    if !kustomization.name_suffix.is_empty() {
        transform::rename(set, &kustomization.name_suffix, End::Suffix, &config)?;
    }
    for label in &kustomization.labels {
        transform::labels(set, label, &config)?;
    }
    if !kustomization.common_labels.is_empty() {
        let pairs = kustomization.common_labels.clone();
        transform::labels(set, &Label { pairs, include_selectors: true, ..Label::default() }, &config)?;
    }
    if !kustomization.common_annotations.is_empty() {
        transform::pairs(set, &kustomization.common_annotations, &config.common_annotations)?;
    }
    for one in &kustomization.patches_json6902 {
        patch::apply_json(set, loader, one)?;
    }
    for replica in &kustomization.replicas {
        transform::replicas(set, replica, &config)?;
    }
    for image in &kustomization.images {
        transform::images(set, image, &config)?;
    }
    for replacement in &kustomization.replacements {
        replace::apply(set, loader, replacement)?;
    }
    Ok(())
}
