//! Tokens that are kept in Secrets, in a whole cluster: made, accepted, and gone with the account.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use minik::Cluster;
use serde_json::json;
use testkit::{eventually, eventually_some};
use tests::workloads::{DEADLINE, cluster};

/// Whose token this is, if the server knows.
async fn user(cluster: &Cluster, token: &str) -> Option<String> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviews: Api<TokenReview> = Api::all(cluster.client());
    let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
    answer.status?.user?.username
}

#[tokio::test(start_paused = true)]
async fn a_token_kept_in_a_secret_is_good_while_the_secret_and_its_account_are_there() {
    let cluster = cluster(1).await;
    let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), "default");
    let secrets = Api::<Secret>::namespaced(cluster.client(), "default");
    let account = serde_json::from_value(json!({ "metadata": { "name": "robot" } })).expect("an account");
    accounts.create(&PostParams::default(), &account).await.expect("created");
    let secret = json!({
        "metadata": { "name": "kept", "annotations": { "kubernetes.io/service-account.name": "robot" } },
        "type": "kubernetes.io/service-account-token",
    });
    let secret: Secret = serde_json::from_value(secret).expect("a secret");
    secrets.create(&PostParams::default(), &secret).await.expect("created");
    let token = eventually_some(DEADLINE, async || {
        let data = secrets.get("kept").await.expect("a secret").data.unwrap_or_default();
        let token = data.get("token")?;
        assert!(data.contains_key("ca.crt") && data["namespace"].0 == b"default");
        String::from_utf8(token.0.clone()).ok()
    })
    .await;
    assert_eq!(user(&cluster, &token).await.as_deref(), Some("system:serviceaccount:default:robot"));

    accounts.delete("robot", &DeleteParams::default()).await.expect("deleted");
    eventually(DEADLINE, async || secrets.get_opt("kept").await.expect("an answer").is_none()).await;
    assert_eq!(user(&cluster, &token).await, None);
    cluster.stop().await;
}
