//! Messages to whoever listens. A subscription survives the cache: it connects again and subscribes
//! again, and says that messages may be missing.

use std::time::Duration;

use futures_util::StreamExt;
use redis::cmd;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Cache;
use super::connection::down;
use crate::store::StoreError;

/// Messages that wait for a slow listener.
const WAITING: usize = 256;
/// First and longest pause before the next try.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What a subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A message.
    Arrived {
        /// Where it came.
        channel: String,
        /// What it says.
        text: String,
    },
    /// The connection was lost and is there again: messages in between are gone.
    Resumed,
}

/// Brings messages until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    from: mpsc::Receiver<Message>,
    _task: AbortOnDropHandle<()>,
}

impl Subscription {
    /// The next one.
    pub async fn next(&mut self) -> Option<Message> {
        self.from.recv().await
    }
}

fn check(channel: &str) -> Result<(), StoreError> {
    let is_name = (1..=256).contains(&channel.len()) && !channel.chars().any(char::is_control);
    if is_name && channel.starts_with(super::PREFIX) {
        return Ok(());
    }
    let message = format!(
        "{channel:?}: names of channels begin with {}",
        super::PREFIX
    );
    Err(StoreError::invalid("channel", "prefix", message))
}

impl Cache {
    /// Sends a message; answers how many listen.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn publish(&self, channel: &str, text: &str) -> Result<u64, StoreError> {
        check(channel)?;
        let mut command = cmd("PUBLISH");
        command.arg(channel).arg(text);
        self.connections.run(0, &command).await
    }

    /// Listens on channels.
    ///
    /// # Errors
    /// [`StoreError`] where the first connection cannot be made.
    pub async fn subscribe(&self, channels: &[String]) -> Result<Subscription, StoreError> {
        for channel in channels {
            check(channel)?;
        }
        let channels = channels.to_vec();
        let connect = async |client: redis::Client| {
            let mut connection = client.get_async_pubsub().await?;
            for channel in &channels {
                connection.subscribe(channel).await?;
            }
            redis::RedisResult::Ok(connection)
        };
        let mut connection = connect(self.connections.client(0)?).await.map_err(down)?;
        let (to, from) = mpsc::channel(WAITING);
        let access = self.connections.access();
        let task = tokio::spawn(async move {
            let mut pause = PAUSES.0;
            loop {
                {
                    let mut messages = connection.on_message();
                    while let Some(message) = messages.next().await {
                        pause = PAUSES.0;
                        let arrived = Message::Arrived {
                            channel: message.get_channel_name().to_owned(),
                            text: message.get_payload().unwrap_or_default(),
                        };
                        if to.send(arrived).await.is_err() {
                            return;
                        }
                    }
                }
                connection = loop {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    let Ok(client) = super::connection::client(&access, 0) else {
                        continue;
                    };
                    let again = async {
                        let mut connection = client.get_async_pubsub().await?;
                        for channel in &channels {
                            connection.subscribe(channel).await?;
                        }
                        redis::RedisResult::Ok(connection)
                    };
                    if let Ok(connection) = again.await {
                        break connection;
                    }
                    if to.is_closed() {
                        return;
                    }
                };
                if to.send(Message::Resumed).await.is_err() {
                    return;
                }
            }
        });
        Ok(Subscription {
            from,
            _task: AbortOnDropHandle::new(task),
        })
    }
}
