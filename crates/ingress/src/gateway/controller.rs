//! The loop: whether the kinds exist, which Gateways are ours, what they mean now, and what is written about it.
//!
//! **Contract**: one small watch until the kinds exist. From then on classes, Gateways, routes and grants are followed; Services,
//! endpoints, certificates and namespaces from the first Gateway of ours on. A port is open while a listener wants it.

use super::attach::{self, Objects, Outcome, World};
use super::types::{GROUP, Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use super::{status, status::Condition};
use crate::controller::Config;
use crate::endpoints::Upstream;
use crate::follow::{Dirty, Followed, Follower, Marks, keep_in_line};
use crate::listen::{self, Open};
use crate::proxy::Shared;
use crate::routes::BackendKey;
use crate::tls::{Certificates, Resolver};
use arc_swap::ArcSwap;
use client::{Informer, Informers, Key, Selection};
use component_base::{Context, logging};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::sign::CertifiedKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

/// The class that there is where the kinds exist.
pub const CLASS: &str = "minik";
/// `spec.controllerName` of classes that are ours.
pub const CONTROLLER: &str = "minik.dev/gateway-controller";
/// The kinds that must exist.
const KINDS: [&str; 4] = ["gateways", "gatewayclasses", "httproutes", "referencegrants"];

/// Passes requests on as Gateways and their routes say, until the context ends.
pub(crate) async fn run(
    context: Context,
    client: kube::Client,
    config: Config,
    proxy: Shared,
    default: Arc<CertifiedKey>,
) {
    loop {
        let following = context.child();
        for kind in KINDS {
            exists(&following, &client, kind).await;
        }
        tracing::info!("the kinds of the Gateway API are there");
        let mut controller = Controller::new(&following, &client, &config, &proxy, &default);
        tokio::select! {
            () = controller.follow() => {}
            // As a part of them goes, the watches of it would fail for ever.
            () = gone(&following, &client, KINDS[0]) => tracing::info!("the kinds of the Gateway API are gone"),
        }
        proxy.gateways.store(Arc::default());
        following.shutdown.trigger();
        drop(controller);
        following.shutdown.finished().await;
    }
}

/// A watch of one definition, and a look at it.
fn definition(context: &Context, client: &kube::Client, plural: &str) -> Informer<CustomResourceDefinition> {
    let selection = Selection::all().fields(&format!("metadata.name={plural}.{GROUP}"));
    Informers::new(client.clone(), context).select(selection)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut established = conditions.filter(|one| one.type_ == "Established" && one.status == "True");
    definition.metadata.deletion_timestamp.is_none() && established.next().is_some()
}

/// Waits until a kind is served.
async fn exists(context: &Context, client: &kube::Client, plural: &str) {
    let within = context.child();
    let informer = definition(&within, client, plural);
    let mut changes = informer.subscribe();
    while !informer.list().iter().any(|definition| is_established(definition)) {
        if changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
    within.shutdown.trigger();
}

/// Waits until a kind is served no more.
async fn gone(context: &Context, client: &kube::Client, plural: &str) {
    let informer = definition(context, client, plural);
    let mut changes = informer.subscribe();
    informer.synced().await;
    while informer.list().iter().any(|definition| is_established(definition)) {
        if changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// An open port, or why it is none.
struct Door {
    _open: Option<Open>,
    resolver: Arc<Resolver>,
    secure: bool,
    refused: Option<String>,
}

struct Controller {
    context: Context,
    client: kube::Client,
    config: Config,
    informers: Informers,
    classes: Informer<GatewayClass>,
    gateways: Informer<Gateway>,
    routes: Informer<HttpRoute>,
    grants: Informer<ReferenceGrant>,
    followed: Option<(Followed, Informer<Namespace>)>,
    dirty: Arc<Dirty>,
    proxy: Shared,
    default: Arc<CertifiedKey>,
    upstreams: HashMap<BackendKey, Arc<Upstream>>,
    doors: BTreeMap<u16, Door>,
    class_exists: bool,
}

impl Follower for Controller {
    const WHAT: &'static str = "the Gateway API";

    fn context(&self) -> &Context {
        &self.context
    }

    fn dirty(&self) -> &Arc<Dirty> {
        &self.dirty
    }

    async fn sync(&mut self, marks: Marks) -> Result<(), String> {
        if !marks.everything {
            if let Some((followed, _)) = &self.followed {
                followed.refresh(&marks, &self.upstreams);
            }
            return Ok(());
        }
        self.ensure_class().await?;
        self.accept_classes().await?;
        let objects = self.objects();
        if !objects.gateways.is_empty() && self.followed.is_none() {
            let namespaces = self.informers.of::<Namespace>();
            self.dirty.watch(&self.context, &namespaces, |_| None);
            namespaces.synced().await;
            self.followed = Some((self.dirty.follow(&self.context, &self.informers).await, namespaces));
        }
        let refused = self.open_doors(&objects).await;
        let outcome = self.attach(&objects);
        for (port, door) in &self.doors {
            let mut certificates = Certificates::new(self.default.clone());
            for (host, certificate) in outcome.certificates.get(port).into_iter().flatten() {
                certificates.add(host, certificate);
            }
            door.resolver.0.store(Arc::new(certificates));
        }
        let Outcome { ports, gateways, routes, .. } = outcome;
        self.proxy.gateways.store(Arc::new(ports));
        self.write(&objects, gateways, routes).await?;
        match refused {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

impl Controller {
    fn new(
        context: &Context,
        client: &kube::Client,
        config: &Config,
        proxy: &Shared,
        default: &Arc<CertifiedKey>,
    ) -> Self {
        let informers = Informers::new(client.clone(), context).sharing(&config.interner);
        Self {
            classes: informers.of(),
            gateways: informers.of(),
            routes: informers.of(),
            grants: informers.of(),
            followed: None,
            dirty: Arc::default(),
            upstreams: HashMap::new(),
            doors: BTreeMap::new(),
            class_exists: false,
            context: context.clone(),
            client: client.clone(),
            config: config.clone(),
            proxy: proxy.clone(),
            default: default.clone(),
            informers,
        }
    }

    async fn follow(&mut self) {
        self.dirty.watch(&self.context, &self.classes, |_| None);
        self.dirty.watch(&self.context, &self.gateways, |_| None);
        self.dirty.watch(&self.context, &self.routes, |_| None);
        self.dirty.watch(&self.context, &self.grants, |_| None);
        self.classes.synced().await;
        self.gateways.synced().await;
        self.routes.synced().await;
        self.grants.synced().await;
        keep_in_line(self).await;
    }

    fn objects(&self) -> Objects {
        let classes = self.classes.list();
        let ours = |gateway: &Arc<Gateway>| {
            let class = classes.iter().find(|class| {
                class.metadata.name.as_deref() == Some(gateway.spec.gateway_class_name.as_str())
            });
            class.is_some_and(|class| class.spec.controller_name == CONTROLLER)
                && gateway.metadata.deletion_timestamp.is_none()
        };
        let mut gateways: Vec<_> = self.gateways.list().into_iter().filter(ours).collect();
        gateways.sort_by_cached_key(|gateway| {
            (gateway.metadata.creation_timestamp.as_ref().map(|time| time.0), Key::of(&**gateway))
        });
        let routes =
            self.routes.list().into_iter().filter(|route| route.metadata.deletion_timestamp.is_none());
        Objects { gateways, routes: routes.collect(), grants: self.grants.list() }
    }

    fn attach(&mut self, objects: &Objects) -> Outcome {
        let known = std::mem::take(&mut self.upstreams);
        let Some((followed, namespaces)) = &self.followed else { return Outcome::default() };
        let mut world = Live { followed, namespaces, doors: &self.doors, known, used: &mut self.upstreams };
        attach::attach(objects, &mut world)
    }

    /// Opens and closes ports as listeners want; what could not be opened.
    async fn open_doors(&mut self, objects: &Objects) -> Option<String> {
        let wanted = attach::wanted_ports(&objects.gateways);
        self.doors.retain(|port, door| door.refused.is_none() && wanted.get(port) == Some(&door.secure));
        let mut all = None;
        for (port, secure) in wanted {
            if self.doors.contains_key(&port) {
                continue;
            }
            let (found, refused) = listen::bind(&self.config.addresses, &[port]).await;
            let resolver = Arc::new(Resolver(ArcSwap::from_pointee(Certificates::new(self.default.clone()))));
            let tls = if secure { listen::tls(&resolver).map(Some) } else { Ok(None) };
            let mut refused = (!refused.is_empty()).then(|| refused.join("; "));
            let opened = match (found, tls) {
                // What is open at some addresses only is none.
                (Some(door), Ok(tls)) if refused.is_none() => {
                    Some(door.open(&self.context, &self.proxy, tls.as_ref()))
                }
                (_, Err(why)) => {
                    refused = Some(why);
                    None
                }
                _ => None,
            };
            if let Some(why) = &refused {
                all = Some(why.clone());
            }
            self.doors.insert(port, Door { _open: opened, resolver, secure, refused });
        }
        all
    }

    /// The class, unless there is one of that name; what people change of it stays.
    async fn ensure_class(&mut self) -> Result<(), String> {
        if self.class_exists {
            return Ok(());
        }
        let class = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "GatewayClass",
            "metadata": {"name": CLASS}, "spec": {"controllerName": CONTROLLER}});
        let class = serde_json::from_value(class).map_err(|error| error.to_string())?;
        let classes: Api<GatewayClass> = Api::all(self.client.clone());
        match classes.create(&PostParams::default(), &class).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(format!("cannot create the gateway class: {}", logging::chain(&error))),
        }
        self.class_exists = true;
        Ok(())
    }

    async fn accept_classes(&self) -> Result<(), String> {
        for class in self.classes.list().iter().filter(|class| class.spec.controller_name == CONTROLLER) {
            let accepted = [Condition::yes("Accepted", "Accepted")];
            let (generation, now) = (class.metadata.generation, self.now());
            let wanted = json!({
                "conditions": status::conditions(&class.status["conditions"], &accepted, generation, &now),
            });
            let api: Api<GatewayClass> = Api::all(self.client.clone());
            patch(api, &**class, &class.status, wanted).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        objects: &Objects,
        gateways: Vec<(Key, attach::GatewaySaid)>,
        routes: Vec<(Key, Vec<attach::ParentSaid>)>,
    ) -> Result<(), String> {
        let now = self.now();
        for (gateway, (_, said)) in objects.gateways.iter().zip(&gateways) {
            let (known, generation) = (&gateway.status, gateway.metadata.generation);
            let wanted = status::of_gateway(known, said, generation, self.config.published, &now);
            let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<Gateway> = Api::namespaced(self.client.clone(), namespace);
            patch(api, &**gateway, known, wanted).await?;
        }
        let mut said: HashMap<Key, Vec<attach::ParentSaid>> = routes.into_iter().collect();
        for route in &objects.routes {
            let key = Key::of(&**route);
            let said = said.remove(&key).unwrap_or_default();
            // One that was never ours needs nothing.
            let spoken = route.status["parents"].as_array().into_iter().flatten();
            if said.is_empty() && !spoken.into_iter().any(|one| one["controllerName"] == CONTROLLER) {
                continue;
            }
            let wanted = status::of_route(&route.status, &said, route.metadata.generation, &now);
            let api: Api<HttpRoute> = Api::namespaced(self.client.clone(), &key.namespace);
            patch(api, &**route, &route.status, wanted).await?;
        }
        Ok(())
    }

    fn now(&self) -> String {
        // Times of the API have no fractions.
        self.context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Writes a status that is not there yet; an object that is gone needs none.
async fn patch<K>(api: Api<K>, object: &K, known: &Value, wanted: Value) -> Result<(), String>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    if *known == wanted {
        return Ok(());
    }
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    // Lists are written as a whole: only over what was read.
    let body = json!({"metadata": {"resourceVersion": meta.resource_version}, "status": wanted});
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await {
        Ok(_) => Ok(()),
        // Another look follows the change that was faster.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        Err(error) => {
            Err(format!("cannot write the status of {} {name}: {}", K::kind(&()), logging::chain(&error)))
        }
    }
}

struct Live<'a> {
    followed: &'a Followed,
    namespaces: &'a Informer<Namespace>,
    doors: &'a BTreeMap<u16, Door>,
    known: HashMap<BackendKey, Arc<Upstream>>,
    used: &'a mut HashMap<BackendKey, Arc<Upstream>>,
}

impl World for Live<'_> {
    fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.get("", name)
    }

    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.followed.services.get_key(key)
    }

    fn certificate(&self, key: &Key) -> Result<Arc<CertifiedKey>, String> {
        self.followed.certificate(key)
    }

    fn upstream(&mut self, key: &BackendKey) -> Arc<Upstream> {
        let upstream = self.used.entry(key.clone()).or_insert_with(|| {
            let upstream = self.known.get(key).cloned().unwrap_or_default();
            self.followed.set(key, &upstream);
            upstream
        });
        upstream.clone()
    }

    fn door(&self, port: u16) -> Option<Result<(), String>> {
        let door = self.doors.get(&port)?;
        Some(door.refused.clone().map_or(Ok(()), Err))
    }
}
