//! Rules by way of a process that has the right to change them: the same transactions, over a pair of streams.
//!
//! **Contract**: one question and one answer at a time, JSON after its length (four bytes, big-endian). When the streams
//! end the process ends, and rules stay as they are.

use super::{Dataplane, Error, Frontend};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

/// The longest message; a full set of rules has some tens of millions of bytes.
const LONGEST: usize = 1 << 30;

type Reader = Pin<Box<dyn AsyncRead + Send>>;
type Writer = Pin<Box<dyn AsyncWrite + Send>>;

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Apply(String),
    Forget(Vec<Frontend>),
    Hold(IpAddr),
}

type Answer = Result<(), String>;

/// The other end of [`serve`].
pub struct Remote(Mutex<(Reader, Writer)>);

impl Remote {
    /// Over these streams, where the other side is [`serve`].
    pub fn new(reader: impl AsyncRead + Send + 'static, writer: impl AsyncWrite + Send + 'static) -> Self {
        Self(Mutex::new((Box::pin(reader), Box::pin(writer))))
    }

    async fn ask(&self, question: &Question) -> Result<(), Error> {
        let mut streams = self.0.lock().await;
        let (reader, writer) = &mut *streams;
        let exchange = async {
            write(writer, question).await?;
            read::<Answer>(reader).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        exchange.await.map_err(Error::Remote)?.map_err(Error::Refused)
    }
}

#[async_trait]
impl Dataplane for Remote {
    async fn apply(&self, transaction: &str) -> Result<(), Error> {
        self.ask(&Question::Apply(transaction.to_owned())).await
    }

    async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error> {
        self.ask(&Question::Forget(places)).await
    }

    async fn hold(&self, bridge: IpAddr) -> Result<(), Error> {
        self.ask(&Question::Hold(bridge)).await.map_err(|error| match error {
            Error::Refused(why) => Error::Bridge(why),
            error => error,
        })
    }
}

/// Carries out what is asked until the questions end.
///
/// # Errors
/// If a stream breaks off.
pub async fn serve(
    dataplane: &dyn Dataplane,
    mut questions: impl AsyncRead + Unpin,
    mut answers: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(question) = read(&mut questions).await? {
        let done = match question {
            Question::Apply(transaction) => dataplane.apply(&transaction).await,
            Question::Forget(places) => dataplane.forget(places).await,
            Question::Hold(bridge) => dataplane.hold(bridge).await,
        };
        let answer: Answer = done.map_err(|error| match error {
            Error::Refused(why) | Error::Bridge(why) => why,
            error => component_base::logging::chain(&error),
        });
        write(&mut answers, &answer).await?;
    }
    Ok(())
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    writer.write_u32(length).await?;
    writer.write_all(&bytes).await?;
    writer.flush().await
}

/// The next message; none at the end.
async fn read<T: for<'de> Deserialize<'de>>(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match reader.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length? as usize,
    };
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Family;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    /// Remembers, and refuses what begins with `no`.
    #[derive(Default)]
    struct Fake(std::sync::Mutex<Vec<String>>);

    #[async_trait]
    impl Dataplane for Fake {
        async fn apply(&self, transaction: &str) -> Result<(), Error> {
            self.0.lock().expect("nobody panicked").push(transaction.to_owned());
            if transaction.starts_with("no") { Err(Error::Refused("because".to_owned())) } else { Ok(()) }
        }

        async fn forget(&self, places: Vec<Frontend>) -> Result<(), Error> {
            self.0.lock().expect("nobody panicked").push(format!("{}", places[0].port));
            Ok(())
        }

        async fn hold(&self, bridge: IpAddr) -> Result<(), Error> {
            Err(Error::Bridge(format!("not {bridge}")))
        }
    }

    #[tokio::test]
    async fn another_process_does_what_is_asked() {
        let (near, far) = tokio::io::duplex(64);
        let served = Arc::<Fake>::default();
        let other = served.clone();
        let serving = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(far);
            serve(&*other, reader, writer).await
        });
        let (reader, writer) = tokio::io::split(near);
        let remote = Remote::new(reader, writer);
        let long = "x".repeat(1000);
        remote.apply(&long).await.expect("done");
        let refused = remote.apply("no").await.expect_err("refused");
        assert!(matches!(refused, Error::Refused(why) if why == "because"));
        let address = Some(Ipv4Addr::LOCALHOST.into());
        let place = Frontend { family: Family::V4, address, port: 53, endpoints: Vec::new() };
        remote.forget(vec![place]).await.expect("done");
        let refused = remote.hold(Ipv4Addr::LOCALHOST.into()).await.expect_err("refused");
        assert!(matches!(refused, Error::Bridge(why) if why == "not 127.0.0.1"));
        drop(remote);
        serving.await.expect("it ends").expect("the streams ended");
        assert_eq!(*served.0.lock().expect("nobody panicked"), [long, "no".to_owned(), "53".to_owned()]);
    }
}
