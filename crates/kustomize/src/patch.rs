//! `patches`, `patchesStrategicMerge` and `patchesJson6902`: which objects, and what becomes of them.
//!
//! **Upstream.** `kustomize/api/internal/builtins/Patch*Transformer.go` (behaviour).

use ::json_patch::PatchOperation;
use api::selector::LabelSelector;
use regex::Regex;
use serde_json::{Value, json};

use crate::kustomization::{Patch, PatchOptions, Selector};
use crate::load::Loader;
use crate::resource::{Resource, Set, gvk, objects};
use crate::{Error, invalid, json_patch, merge};

/// What the text of a patch is.
enum Content {
    Strategic(Vec<Value>),
    Json(Vec<PatchOperation>),
}

/// One of `patches`.
pub(crate) fn apply(set: &mut Set, loader: &Loader, patch: &Patch) -> Result<(), Error> {
    let (content, source) =
        read(loader, patch).map_err(|error| error.within("trouble configuring builtin PatchTransformer"))?;
    let patches = match content {
        Content::Json(operations) => {
            let Some(target) = &patch.target else {
                return invalid(format!("must specify a target for JSON patch {source}"));
            };
            return json(set, target, &operations);
        }
        Content::Strategic(patches) => patches,
    };
    let Some(target) = &patch.target else {
        for one in &patches {
            let id = Resource::new(one.clone()).id();
            let place = set.only(&id).map_err(|error| {
                error.within(format!("no resource matches strategic merge patch \"{id}\""))
            })?;
            strategic(set, vec![place], one, &patch.options)?;
        }
        return Ok(());
    };
    let [one] = patches.as_slice() else {
        return invalid(format!(
            "Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` field: {source}"
        ));
    };
    let places = select(set, target)?;
    strategic(set, places, one, &patch.options)
}

/// One of `patchesStrategicMerge`: a path, or the patch itself.
pub(crate) fn apply_strategic(set: &mut Set, loader: &Loader, text: &str) -> Result<(), Error> {
    let inline = loader.documents(text).ok().and_then(|found| objects(found).ok());
    let patches = match inline.filter(|found| !found.is_empty()) {
        Some(patches) => patches,
        None => {
            let found = loader.documents(&loader.text(text)?).map_err(Error::Invalid)?;
            objects(found)?
        }
    };
    for one in &patches {
        let place = set.only(&Resource::new(one.clone()).id())?;
        strategic(set, vec![place], one, &PatchOptions::default())?;
    }
    Ok(())
}

/// One of `patchesJson6902`.
pub(crate) fn apply_json(set: &mut Set, loader: &Loader, patch: &Patch) -> Result<(), Error> {
    let (content, source) = read(loader, patch)?;
    match (content, &patch.target) {
        (Content::Json(operations), Some(target)) => json(set, target, &operations),
        (Content::Json(_), None) => invalid(format!("must specify a target for patch {source}")),
        (Content::Strategic(_), _) => invalid(format!("unable to parse JSON patch from {source}")),
    }
}

/// The patch, and how messages name it.
fn read(loader: &Loader, patch: &Patch) -> Result<(Content, String), Error> {
    let inline = patch.patch.trim();
    let (text, source) = match (inline, patch.path.as_str()) {
        ("", "") => return invalid("must specify one of patch and path"),
        ("", path) => {
            let text = loader
                .text(path)
                .map_err(|error| error.within(format!("failed to get the patch file from path({path})")))?;
            (text, format!("[path: {path:?}]"))
        }
        (text, "") => (text.to_owned(), format!("[patch: {text:?}]")),
        _ => return invalid("patch and path can't be set at the same time"),
    };
    let content = match loader.settings(&text).as_deref() {
        Ok([operations @ Value::Array(_)]) => json_patch::read(operations.clone()).ok().map(Content::Json),
        _ => loader.documents(&text).ok().and_then(|found| objects(found).ok()).map(Content::Strategic),
    };
    match content {
        Some(content) => Ok((content, source)),
        None => invalid(format!("unable to parse SM or JSON patch from {source}")),
    }
}

fn strategic(set: &mut Set, places: Vec<usize>, patch: &Value, options: &PatchOptions) -> Result<(), Error> {
    let mut gone = Vec::new();
    for place in places {
        let one = &mut set.0[place];
        if options.allow_name_change || options.allow_kind_change {
            one.remember();
        }
        let before = (one.kind().to_owned(), one.name().to_owned(), one.namespace().to_owned());
        let api_version = one.object["apiVersion"].clone();
        match merge::merge(one.object.take(), patch)? {
            None => gone.push(place),
            Some(merged) => {
                one.object = merged;
                one.object["apiVersion"] = api_version;
                if !options.allow_kind_change {
                    one.object["kind"] = json!(before.0);
                }
                if !options.allow_name_change {
                    one.set_metadata("name", &before.1);
                }
                one.set_metadata("namespace", &before.2);
                for field in ["labels", "annotations"] {
                    one.set_pairs(field, one.pairs(field));
                }
            }
        }
    }
    for place in gone.into_iter().rev() {
        set.0.remove(place);
    }
    Ok(())
}

fn json(set: &mut Set, target: &Selector, operations: &[PatchOperation]) -> Result<(), Error> {
    for place in select(set, target)? {
        let one = &mut set.0[place];
        one.remember();
        json_patch::apply(operations, &mut one.object)?;
    }
    Ok(())
}

/// A selector, ready to be asked. Names and kinds are patterns that must fit as a whole.
pub(crate) struct Matcher {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: LabelSelector,
    annotations: LabelSelector,
}

impl Matcher {
    pub(crate) fn new(selector: &Selector) -> Result<Self, Error> {
        let pattern = |text: &str| match text {
            "" => Ok(None),
            text => Regex::new(&format!("^(?:{text})$"))
                .map(Some)
                .map_err(|_| Error::Invalid(format!("error parsing regexp: {text}"))),
        };
        let labels = |text: &str| LabelSelector::parse(text).map_err(Error::Invalid);
        Ok(Self {
            group: pattern(&selector.group)?,
            version: pattern(&selector.version)?,
            kind: pattern(&selector.kind)?,
            name: pattern(&selector.name)?,
            namespace: pattern(&selector.namespace)?,
            labels: labels(&selector.label_selector)?,
            annotations: labels(&selector.annotation_selector)?,
        })
    }

    /// Whether group, version and kind fit.
    pub(crate) fn fits_kind(&self, kind: &crate::resource::Gvk) -> bool {
        fits(&self.group, &kind.group) && fits(&self.version, &kind.version) && fits(&self.kind, &kind.kind)
    }

    /// Whether a name fits.
    pub(crate) fn fits_name(&self, name: &str) -> bool {
        fits(&self.name, name)
    }

    /// Whether a namespace fits.
    pub(crate) fn fits_namespace(&self, namespace: &str) -> bool {
        fits(&self.namespace, namespace)
    }

    /// Whether labels and annotations fit.
    pub(crate) fn fits_pairs(&self, one: &Resource) -> bool {
        let metadata = &one.object["metadata"];
        self.labels.matches(|key| metadata["labels"][key].as_str())
            && self.annotations.matches(|key| metadata["annotations"][key].as_str())
    }
}

fn fits(pattern: &Option<Regex>, text: &str) -> bool {
    pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
}

/// The places of the objects that fit, by their first names or their present ones.
fn select(set: &Set, selector: &Selector) -> Result<Vec<usize>, Error> {
    let matcher = Matcher::new(selector)?;
    let fits = |one: &Resource| {
        let (now, first) = (one.id(), one.original());
        (matcher.fits_namespace(first.effective_namespace())
            || matcher.fits_namespace(now.effective_namespace()))
            && (matcher.fits_name(&first.name) || matcher.fits_name(&now.name))
            && matcher.fits_kind(&gvk(&one.object))
            && matcher.fits_pairs(one)
    };
    Ok(set.0.iter().enumerate().filter(|(_, one)| fits(one)).map(|(place, _)| place).collect())
}
