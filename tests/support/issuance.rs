//! A certificate from the lab's CA without mailcert: what another client would have left on disk, and the proof that
//! CA, DNS server and port 80 of the site fit together.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use instant_acme::{
    Account, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient, Identifier, NewAccount, NewOrder,
    RetryPolicy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::LoopbackAddress;

/// A chain, leaf first, and the key of its leaf, both as PEM.
pub struct Issued {
    /// The chain.
    pub fullchain: String,
    /// The key.
    pub private_key: String,
}

/// Gets a certificate for names that resolve to the address, where port 80 must be free.
pub fn issue(http: &reqwest::Client, directory: String, address: &LoopbackAddress, names: &[&str]) -> Issued {
    let port = address.port(80);
    let conversation = async {
        let listener = TcpListener::bind(port)
            .await
            .expect("port 80 of the lab's own address is free");
        let builder = Account::builder_with_http(Box::new(Http(http.clone())));
        let new = NewAccount {
            contact: &[],
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, _) = builder.create(&new, directory, None).await.expect("an account");
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| Identifier::Dns((*name).to_owned()))
            .collect();
        let mut order = account
            .new_order(&NewOrder::new(&identifiers))
            .await
            .expect("an order");

        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.expect("an authorization");
            let challenge = authorization
                .challenge(ChallengeType::Http01)
                .expect("http-01 is offered");
            answers.push((
                challenge.token.clone(),
                challenge.key_authorization().as_str().to_owned(),
            ));
        }
        let server = tokio::spawn(serve(listener, answers));
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.expect("an authorization");
            authorization
                .challenge(ChallengeType::Http01)
                .expect("http-01")
                .set_ready()
                .await
                .expect("taken");
        }
        order
            .poll_ready(&RetryPolicy::default())
            .await
            .expect("the challenges are valid");
        server.abort();
        let private_key = order.finalize().await.expect("finalized");
        let fullchain = order
            .poll_certificate(&RetryPolicy::default())
            .await
            .expect("a certificate");
        Issued {
            fullchain,
            private_key,
        }
    };
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(conversation)).join().unwrap())
}

/// Answers each request with the key authorization of the token in it.
async fn serve(listener: TcpListener, answers: Vec<(String, String)>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = [0; 2048];
        let n_read = stream.read(&mut request).await.unwrap_or_default();
        let request = String::from_utf8_lossy(&request[..n_read]).into_owned();
        let body = answers
            .iter()
            .find(|(token, _)| request.contains(token))
            .map_or("", |(_, text)| text);
        let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

/// Carries the crate's requests over the client that trusts Pebble.
struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = http_body_util::BodyExt::collect(body)
                .await
                .expect("a body in memory")
                .to_bytes();
            let request = reqwest::Request::try_from(http::Request::from_parts(parts, body));
            let response = client.execute(request.expect("a request")).await;
            let response = response.map_err(|error| Error::Other(Box::new(error)))?;
            Ok(BytesResponse::from(http::Response::<reqwest::Body>::from(
                response,
            )))
        })
    }
}
