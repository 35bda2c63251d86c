//! Threads that serve connections: as many as there are processors, each with a loop of events of its own.
//!
//! **Contract**: a connection stays on the thread that it was given to, and so do the connections to endpoints that its
//! requests use: what happens on them wakes no other processor. The threads start with the first connection; at the end of the
//! context they wait for theirs.
//! **Not here**: what is served ([`crate::listen`]).

use crate::clients::{Clients, Connectors};
use component_base::Context;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;
type Arrival = Box<dyn FnOnce(Arc<Clients>) -> Serving + Send>;

/// The threads.
pub(crate) struct Workers {
    context: Context,
    connectors: Connectors,
    threads: OnceLock<Vec<mpsc::UnboundedSender<Arrival>>>,
    next: AtomicUsize,
}

impl Workers {
    pub(crate) fn new(context: &Context, connectors: Connectors) -> Self {
        let (threads, next) = (OnceLock::new(), AtomicUsize::new(0));
        Self { context: context.clone(), connectors, threads, next }
    }

    /// Serves a connection on the thread whose turn it is; `serve` gets the clients of that thread.
    pub(crate) fn serve<F>(&self, serve: impl FnOnce(Arc<Clients>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = self.threads.get_or_init(|| self.start());
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(thread) = threads.get(turn % threads.len().max(1)) else { return };
        // One that is gone means that the end was asked for.
        let _ = thread.send(Box::new(|clients| Box::pin(serve(clients))));
    }

    fn start(&self) -> Vec<mpsc::UnboundedSender<Arrival>> {
        let number = thread::available_parallelism().map_or(1, usize::from);
        let started: Result<Vec<_>, io::Error> = (0..number).map(|_| self.start_one()).collect();
        started.unwrap_or_else(|error| {
            tracing::error!(%error, "ingress cannot start its threads");
            Vec::new()
        })
    }

    fn start_one(&self) -> io::Result<mpsc::UnboundedSender<Arrival>> {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let (ended, end) = oneshot::channel::<()>();
        let (context, connectors) = (self.context.clone(), self.connectors.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("ingress".to_owned()).spawn(move || {
            run(&runtime, &context, &connectors, arrivals);
            drop(ended);
        })?;
        self.context.shutdown.spawn_graceful(async move {
            // Nothing is ever sent: the thread drops its end.
            let _ = end.await;
        });
        Ok(sender)
    }
}

/// What a thread does until the end.
fn run(
    runtime: &Runtime,
    context: &Context,
    connectors: &Connectors,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
) {
    runtime.block_on(async {
        let clients = Arc::new(Clients::new(connectors, context));
        let mut served = JoinSet::new();
        loop {
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(serve) => drop(served.spawn(serve(clients.clone()))),
                    None => break,
                },
                Some(_) = served.join_next() => {}
                () = context.shutdown.requested() => break,
            }
        }
        // They see the end themselves.
        while served.join_next().await.is_some() {}
    });
}
