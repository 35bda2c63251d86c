//! TLS to pods and nodes, whose certificates nobody vouches for.
//!
//! **Upstream**: the API server's proxy transport does not verify either (`InsecureSkipVerify`).

use crate::subresources::NodeStream;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// TLS over a stream to this host.
pub(super) async fn wrap(stream: Box<dyn NodeStream>, host: &str) -> Result<Box<dyn NodeStream>, String> {
    let config = component_base::tls::unverified().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map(|stream| Box::new(stream) as Box<dyn NodeStream>).map_err(|error| in_gos_words(&error))
}

fn in_gos_words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        // What else speaks first without being asked in TLS?
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        _ => error.to_string(),
    }
}
