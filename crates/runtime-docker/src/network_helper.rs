//! A program of this machine in a container that has rights over the machine's network, for who has not.
//!
//! Contract: the container has the machine's network and `CAP_NET_ADMIN`, and nothing else of this machine but the program
//! and the system's programs and libraries, which it cannot change. It ends with its streams, and is removed with its end.
//! It is no pod: nothing that lists the profile's containers sees it.

use std::path::Path;
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder};
use futures::{StreamExt, future};
use runtime::Result;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::StreamReader;

use crate::client::DockerRuntime;
use crate::error;

/// Where the program is in the container.
const PROGRAM: &str = "/minik";
/// What programs of the system are made of.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache"];

/// What the program reads and writes.
pub struct Helper {
    /// Its standard input.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Its standard output.
    pub output: Pin<Box<dyn AsyncRead + Send>>,
}

impl DockerRuntime {
    /// Runs a program with rights over this machine's network; one that still runs for the profile ends.
    ///
    /// # Errors
    /// If the engine does not do that.
    pub async fn network_helper(&self, program: &Path, arguments: &[&str]) -> Result<Helper> {
        self.ensure_pause_image().await?;
        let name = format!("minik_network_{}", self.config.profile);
        self.remove_by_force(&name).await?;
        let system = SYSTEM.into_iter().filter(|path| Path::new(path).exists());
        let mounts = system.map(|path| format!("{path}:{path}:ro"));
        let host = HostConfig {
            network_mode: Some("host".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(vec!["NET_ADMIN".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            readonly_rootfs: Some(true),
            auto_remove: Some(true),
            binds: Some(mounts.chain([format!("{}:{PROGRAM}:ro", program.display())]).collect()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(self.pause_image().to_owned()),
            entrypoint: Some(vec![PROGRAM.to_owned()]),
            cmd: Some(arguments.iter().map(|argument| (*argument).to_owned()).collect()),
            env: Some(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "MINIK_HOME=/"].map(str::to_owned).to_vec()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let create = self.client.create_container(Some(options), body);
        let id = create.await.map_err(error::other("create network helper"))?.id;
        let options =
            AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stderr(true).stream(true);
        let attach = self.client.attach_container(&id, Some(options.build()));
        let attached = attach.await.map_err(error::other("attach to network helper"))?;
        if let Err(error) = self.client.start_container(&id, None).await {
            // Its own end removes only what has started.
            self.remove_by_force(&id).await?;
            return Err(error::other("start network helper")(error));
        }
        let pieces = attached.output.filter_map(|piece| {
            future::ready(match piece {
                Ok(LogOutput::StdOut { message } | LogOutput::Console { message }) => Some(Ok(message)),
                Ok(LogOutput::StdErr { message }) => {
                    tracing::warn!("network helper: {}", String::from_utf8_lossy(&message).trim());
                    None
                }
                Ok(LogOutput::StdIn { .. }) => None,
                Err(error) => Some(Err(std::io::Error::other(error))),
            })
        });
        Ok(Helper { input: attached.input, output: Box::pin(StreamReader::new(pieces)) })
    }
}
