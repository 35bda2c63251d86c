//! How webhooks and policies see the objects of a store: in any of its versions, or as a subresource shows them.

use super::{Store, Version, metadata, prepare};
use crate::admission::{Form, Forms, Shown};
use crate::handlers::decode::{self, FieldValidation};
use crate::patch::apply;
use api::status::Status;
use async_trait::async_trait;
use serde_json::Value;

/// The forms of one request's object.
pub(super) struct StoredForms<'a> {
    pub(super) store: &'a Store,
    /// The version of the request, if it is not the one that is stored.
    pub(super) requested: Option<&'a Version>,
    /// How the clients of the subresource see it.
    pub(super) shown: Option<&'a dyn Shown>,
}

impl StoredForms<'_> {
    /// The versions, that of the request first.
    fn versions(&self) -> impl Iterator<Item = &Version> {
        let requested = self.requested.unwrap_or(&self.store.versions()[0]);
        let own = requested.resource().api_version();
        let others = self
            .store
            .versions()
            .iter()
            .filter(move |version| version.is_served() && version.resource().api_version() != own);
        std::iter::once(requested).chain(others)
    }

    fn version(&self, form: usize) -> Result<&Version, Status> {
        self.versions().nth(form).ok_or_else(|| Status::internal("no such version"))
    }
}

#[async_trait]
impl Forms for StoredForms<'_> {
    fn all(&self) -> Vec<Form> {
        let form = |version: &Version| match self.shown {
            Some(shown) => Form::with_kind(version.resource(), shown.kind()),
            None => Form::of(version.resource()),
        };
        self.versions().map(form).collect()
    }

    async fn show(&self, form: usize, object: &Value) -> Result<Value, Status> {
        match self.shown {
            Some(shown) => Ok(shown.show(object)),
            None => Ok(self.version(form)?.of_stored(object).await?.into_owned()),
        }
    }

    async fn take(&self, form: usize, changed: Value, object: &Value) -> Result<Value, Status> {
        let mut taken = match self.shown {
            Some(shown) => shown.take(object, &changed)?,
            None => {
                let version = self.version(form)?;
                let changed = decode::patched(version, changed, FieldValidation::Ignore, &[])?;
                version.to_stored(changed.value).await?
            }
        };
        metadata::of(&mut taken).shift_remove("resourceVersion");
        prepare::default_in(&*self.store.strategy, self.requested, &mut taken);
        Ok(taken)
    }

    fn merge(&self, form: usize, object: &mut Value, config: &Value) -> Vec<String> {
        match (self.shown, self.version(form)) {
            (None, Ok(version)) => apply::merge_configuration(object, config, version.shape()),
            (shown, _) => {
                let kind = shown.map_or_else(|| Form::of(self.store.resource()).kind, |shown| shown.kind());
                apply::merge_configuration(object, config, apply::shape_of(&kind))
            }
        }
    }
}
