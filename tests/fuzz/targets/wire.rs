//! What comes over the network from whoever is there: requests to our listener, replies of mail servers, DNS messages.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hickory_proto::op::Message;
use mailcert::{acme::challenge::http01, model::rdata::Rdata, probe::smtp::Conversation};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// The listener of http-01: nothing is served but the token's own answer.
pub fn http(data: &[u8]) {
    let tokens = HashMap::from([("token".to_owned(), "token.thumbprint".to_owned())]);
    let answer = http01::answer(data, &tokens);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") || head.starts_with("HTTP/1.1 404 Not Found"));
    assert!(body.is_empty() || body == "token.thumbprint", "{body}");
    if head.starts_with("HTTP/1.1 200") {
        assert!(data.starts_with(b"GET ") || data.starts_with(b"HEAD "));
    }
}

/// A server that says all it has to say, and takes everything.
struct Monologue<'a>(&'a [u8]);

impl AsyncRead for Monologue<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = self.0.len().min(buffer.remaining()).min(7);
        let (now, later) = self.0.split_at(n);
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Monologue<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
}

/// Replies of a mail server: each is short, and fit for a terminal.
pub fn smtp(data: &[u8]) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let second = Duration::from_secs(1);
            let mut conversation = Conversation::new(Monologue(data), second, Instant::now() + second);
            for _ in 0..100 {
                match conversation.reply().await {
                    Ok(reply) => {
                        assert!(reply.lines.len() <= data.len());
                        for line in &reply.lines {
                            super::assert_harmless(line);
                        }
                    }
                    Err(error) => {
                        super::assert_harmless(&error);
                        break;
                    }
                }
            }
        });
    });
}

/// A DNS message: its records become values of ours, and these are the same after they were printed and read again.
pub fn dns_message(data: &[u8]) {
    let Ok(message) = Message::from_vec(data) else {
        return;
    };
    for record in &message.answers {
        if let Ok(value) = mailcert::dns::answer::data_of(&record.data) {
            assert_eq!(
                Rdata::parse(value.kind(), &value.to_string()).as_ref(),
                Ok(&value)
            );
        }
    }
    for query in &message.queries {
        let text = mailcert::dns::answer::text_of(query.name());
        super::assert_harmless(&text);
    }
}
