//! `start_container`.

use runtime::{ContainerId, Result};

use crate::client::DockerRuntime;
use crate::error;

impl DockerRuntime {
    pub(crate) async fn start(&self, id: &ContainerId) -> Result<()> {
        match self.client.start_container(id.as_str(), None).await {
            Ok(()) => Ok(()),
            Err(error) if error::is_status(&error, 304) => Ok(()),
            Err(error) => Err(error::start(id.as_str(), error)),
        }
    }
}
