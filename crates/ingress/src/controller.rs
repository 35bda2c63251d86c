//! The loop: which Ingresses are ours, what they mean now, and whether the doors are open.
//!
//! **Contract**: Services, endpoints and certificates are followed, and ports are bound, from the first Ingress of one of our
//! classes on until the last is gone. Endpoints change without a new table. What is not followed, and ports that are taken,
//! become events of the Ingress, once each.

use crate::endpoints::Upstream;
use crate::follow::{Dirty, Followed, Follower, Marks, keep_in_line};
use crate::gateway;
use crate::listen::{self, Open};
use crate::proxy::Proxy;
use crate::routes::{self, BackendKey, Complaint};
use crate::tls::{self, Certificates, Resolver};
use arc_swap::ArcSwap;
use client::events::Type;
use client::{Informer, Informers, Interner, Key, Recorder};
use component_base::{Context, logging};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressTLS};
use kube::api::{Api, PostParams};
use rustls::sign::CertifiedKey;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The class that every cluster has; its default, unless people choose another.
pub const CLASS: &str = "minik";
/// `spec.controller` of classes that are ours.
pub const CONTROLLER: &str = "minik.dev/ingress-controller";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// Configuration of the controller.
#[derive(Clone)]
pub struct Config {
    /// Where to listen.
    pub addresses: Vec<IpAddr>,
    /// Ports for HTTP, in the order in which they are tried.
    pub http_ports: Vec<u16>,
    /// Ports for HTTPS, likewise.
    pub https_ports: Vec<u16>,
    /// The address that Ingresses get in their status.
    pub published: IpAddr,
    /// Certificate and key (PEM) for hosts that have none.
    pub certificate: (String, String),
    /// What other components of the process keep of the same objects.
    pub interner: Interner,
}

/// Passes requests on as Ingresses say, until the context ends.
pub async fn run(context: Context, client: kube::Client, config: Config) {
    let prepared = tls::certified(config.certificate.0.as_bytes(), config.certificate.1.as_bytes())
        .map_err(|error| logging::chain(&error))
        .and_then(|default| Ok((default, Proxy::new(&context).map_err(|error| logging::chain(&error))?)));
    let (default, proxy) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return tracing::error!("ingress cannot start: {error}"),
    };
    let informers = Informers::new(client.clone(), &context).sharing(&config.interner);
    let dirty = Arc::<Dirty>::default();
    let resolver = Arc::new(Resolver(ArcSwap::from_pointee(Certificates::new(default.clone()))));
    let proxy = Arc::new(proxy);
    let gateways =
        gateway::run(context.clone(), client.clone(), config.clone(), proxy.clone(), default.clone());
    context.shutdown.spawn(gateways);
    let mut controller = Controller {
        ingresses: informers.of(),
        classes: informers.of(),
        recorder: Recorder::new(client.clone(), "ingress-controller", None, &context),
        proxy,
        told: HashSet::new(),
        upstreams: HashMap::new(),
        followed: None,
        doors: None,
        refused: String::new(),
        class_exists: false,
        resolver,
        default,
        dirty: dirty.clone(),
        informers,
        client,
        config,
        context: context.clone(),
    };
    tokio::select! {
        () = controller.follow() => {}
        () = context.shutdown.requested() => {}
    }
}

struct Controller {
    context: Context,
    client: kube::Client,
    config: Config,
    informers: Informers,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    followed: Option<Followed>,
    dirty: Arc<Dirty>,
    recorder: Recorder,
    proxy: Arc<Proxy>,
    resolver: Arc<Resolver>,
    default: Arc<CertifiedKey>,
    upstreams: HashMap<BackendKey, Arc<Upstream>>,
    /// Both doors, as far as they could be opened.
    doors: Option<[Option<Open>; 2]>,
    /// What was said to us when they were.
    refused: String,
    class_exists: bool,
    told: HashSet<Complaint>,
}

impl Follower for Controller {
    const WHAT: &'static str = "ingress";

    fn context(&self) -> &Context {
        &self.context
    }

    fn dirty(&self) -> &Arc<Dirty> {
        &self.dirty
    }

    async fn sync(&mut self, marks: Marks) -> Result<(), String> {
        if !self.class_exists {
            self.ensure_class().await?;
        }
        let ours: Vec<Arc<Ingress>> =
            self.ingresses.list().into_iter().filter(|ingress| self.is_ours(ingress)).collect();
        if ours.is_empty() {
            self.doors = None;
            self.proxy.table.store(Arc::default());
            self.upstreams.clear();
            self.told.clear();
            return Ok(());
        }
        if self.followed.is_none() {
            self.followed = Some(self.dirty.follow(&self.context, &self.informers).await);
        }
        let Some(followed) = &self.followed else { return Ok(()) };
        if !marks.everything {
            followed.refresh(&marks, &self.upstreams);
            return Ok(());
        }
        let mut complaints = self.route(&ours);
        complaints.extend(self.certify(&ours));
        let opened = self.open_doors(&ours, &mut complaints).await;
        self.tell(&ours, complaints);
        opened?;
        for ingress in
            ours.iter().filter(|ingress| !crate::status::is_published(ingress, self.config.published))
        {
            let key = Key::of(&**ingress);
            let published = crate::status::publish(&self.client, &key, self.config.published).await;
            published.map_err(|error| {
                format!("cannot write the status of ingress {key}: {}", logging::chain(&error))
            })?;
        }
        Ok(())
    }
}

impl Controller {
    async fn follow(&mut self) {
        self.dirty.watch(&self.context, &self.ingresses, |_| None);
        self.dirty.watch(&self.context, &self.classes, |_| None);
        self.ingresses.synced().await;
        self.classes.synced().await;
        keep_in_line(self).await;
    }

    fn is_ours(&self, ingress: &Ingress) -> bool {
        let spec = ingress.spec.as_ref();
        let annotations = ingress.metadata.annotations.as_ref();
        let annotated = || annotations.and_then(|all| all.get(CLASS_ANNOTATION));
        let Some(name) = spec.and_then(|spec| spec.ingress_class_name.as_ref()).or_else(annotated) else {
            return false;
        };
        let class = self.classes.get("", name);
        let controller = class.as_ref().and_then(|class| class.spec.as_ref()?.controller.as_deref());
        ingress.metadata.deletion_timestamp.is_none() && controller == Some(CONTROLLER)
    }

    /// The class, unless there is one of that name; what people change of it stays.
    async fn ensure_class(&mut self) -> Result<(), String> {
        let class = json!({
            "metadata": {"name": CLASS, "annotations": {DEFAULT_ANNOTATION: "true"}},
            "spec": {"controller": CONTROLLER},
        });
        let class: IngressClass = serde_json::from_value(class).map_err(|error| error.to_string())?;
        match Api::all(self.client.clone()).create(&PostParams::default(), &class).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(format!("cannot create the ingress class: {}", logging::chain(&error))),
        }
        self.class_exists = true;
        Ok(())
    }

    /// Publishes the table of these Ingresses.
    fn route(&mut self, ours: &[Arc<Ingress>]) -> Vec<Complaint> {
        let Some(followed) = &self.followed else { return Vec::new() };
        let known = std::mem::take(&mut self.upstreams);
        let used = &mut self.upstreams;
        let (table, complaints) = routes::table(ours.to_vec(), &mut |key| {
            let upstream = used.entry(key.clone()).or_insert_with(|| {
                let upstream = known.get(key).cloned().unwrap_or_default();
                followed.set(key, &upstream);
                upstream
            });
            upstream.clone()
        });
        self.proxy.table.store(Arc::new(table));
        complaints
    }

    /// Publishes their certificates.
    fn certify(&mut self, ours: &[Arc<Ingress>]) -> Vec<Complaint> {
        let mut certificates = Certificates::new(self.default.clone());
        let mut complaints = Vec::new();
        let Some(followed) = &self.followed else { return complaints };
        for ingress in ours {
            let key = Key::of(&**ingress);
            for tls in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
                let Some(name) = &tls.secret_name else { continue };
                match followed.certificate(&Key::new(key.namespace.clone(), name.clone())) {
                    Ok(certificate) => {
                        for host in hosts(ingress, tls) {
                            certificates.add(host, &certificate);
                        }
                    }
                    Err(message) => {
                        complaints.push(Complaint {
                            ingress: key.clone(),
                            reason: "CertificateUnusable",
                            message,
                        });
                    }
                }
            }
        }
        self.resolver.0.store(Arc::new(certificates));
        complaints
    }

    /// Opens what is not open yet; an error if nothing could be.
    async fn open_doors(
        &mut self,
        ours: &[Arc<Ingress>],
        complaints: &mut Vec<Complaint>,
    ) -> Result<(), String> {
        if self.doors.is_some() {
            complaints.extend(self.about_ports(ours));
            return Ok(());
        }
        let tls = listen::tls(&self.resolver)?;
        self.refused.clear();
        let (http, mut refused) = listen::bind(&self.config.addresses, &self.config.http_ports).await;
        let (https, more) = listen::bind(&self.config.addresses, &self.config.https_ports).await;
        refused.extend(more);
        let ports = [http.as_ref(), https.as_ref()].map(|door| door.map(|door| door.port));
        if !refused.is_empty() {
            let told = |what: &str, port: Option<u16>| match port {
                Some(port) => format!("{what} is served at port {port}"),
                None => format!("{what} is not served"),
            };
            self.refused =
                format!("{}; {}, {}", refused.join("; "), told("HTTP", ports[0]), told("HTTPS", ports[1]));
        }
        complaints.extend(self.about_ports(ours));
        if ports == [None, None] {
            return Err(refused.join("; "));
        }
        tracing::info!(http = ?ports[0], https = ?ports[1], addresses = ?self.config.addresses, "ingress listens");
        self.proxy.https_port.store(ports[1].unwrap_or(443), Ordering::Relaxed);
        self.doors = Some([
            http.map(|door| door.open(&self.context, &self.proxy, None)),
            https.map(|door| door.open(&self.context, &self.proxy, Some(&tls))),
        ]);
        Ok(())
    }

    /// What is to be said of ports that could not be had.
    fn about_ports(&self, ours: &[Arc<Ingress>]) -> Vec<Complaint> {
        let refused = ours.iter().filter(|_| !self.refused.is_empty());
        let complaint = |ingress: &Arc<Ingress>| Complaint {
            ingress: Key::of(&**ingress),
            reason: "PortNotAvailable",
            message: self.refused.clone(),
        };
        refused.map(complaint).collect()
    }

    /// Makes events of what was not told yet.
    fn tell(&mut self, ours: &[Arc<Ingress>], complaints: Vec<Complaint>) {
        for complaint in &complaints {
            let about = ours.iter().find(|ingress| Key::of(&***ingress) == complaint.ingress);
            if let Some(ingress) = about.filter(|_| !self.told.contains(complaint)) {
                self.recorder.on(&**ingress, Type::Warning, complaint.reason, complaint.message.clone());
            }
        }
        self.told = complaints.into_iter().collect();
    }
}

/// The hosts that a certificate is for: those it names, or all of the Ingress.
fn hosts<'a>(ingress: &'a Ingress, tls: &'a IngressTLS) -> Vec<&'a str> {
    let named = tls.hosts.iter().flatten().map(String::as_str).collect::<Vec<_>>();
    if !named.is_empty() {
        return named;
    }
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_deref()).collect()
}
