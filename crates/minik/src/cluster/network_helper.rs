//! Rules by way of a helper that the engine runs, for who may not change them.
//!
//! **Contract**: a helper that does not answer is given up, and the next question starts another; who asked is told, and
//! makes everything anew, as after any refusal.

use async_trait::async_trait;
use kube_proxy::dataplane::Frontend;
use kube_proxy::{Dataplane, Error, Remote};
use runtime_docker::DockerRuntime;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The arguments of this program with which it is the helper.
const ARGUMENTS: [&str; 1] = ["network-helper"];

/// The helper of a profile.
pub(super) struct Helper {
    docker: DockerRuntime,
    program: PathBuf,
    running: Mutex<Option<Arc<Remote>>>,
}

impl Helper {
    /// One that will run this program.
    pub(super) fn new(docker: DockerRuntime, program: PathBuf) -> Self {
        Self { docker, program, running: Mutex::default() }
    }

    /// The one that runs, or another.
    async fn running(&self) -> Result<Arc<Remote>, Error> {
        let mut running = self.running.lock().await;
        if let Some(remote) = &*running {
            return Ok(remote.clone());
        }
        let started = self.docker.network_helper(&self.program, &ARGUMENTS).await;
        let helper = started.map_err(|error| Error::Remote(std::io::Error::other(error)))?;
        Ok(running.insert(Arc::new(Remote::new(helper.output, helper.input))).clone())
    }

    /// Gives it up if it did not answer.
    async fn after(&self, asked: &Arc<Remote>, answer: Result<(), Error>) -> Result<(), Error> {
        if let Err(Error::Remote(_)) = &answer {
            let mut running = self.running.lock().await;
            // Somebody else may have started another.
            running.take_if(|running| Arc::ptr_eq(running, asked));
        }
        answer
    }
}

#[async_trait]
impl Dataplane for Helper {
    async fn apply(&self, transaction: &str) -> Result<(), Error> {
        let remote = self.running().await?;
        self.after(&remote, remote.apply(transaction).await).await
    }

    async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error> {
        let remote = self.running().await?;
        self.after(&remote, remote.forget(places).await).await
    }

    async fn hold(&self, bridge: IpAddr) -> Result<(), Error> {
        let remote = self.running().await?;
        self.after(&remote, remote.hold(bridge).await).await
    }
}
