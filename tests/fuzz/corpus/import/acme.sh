%% acme.sh
%% account.conf
SAVED_NSUPDATE_SERVER='192.0.2.1'
SAVED_NSUPDATE_KEY='/k'
%% a.test_ecc/a.test.conf
Le_Domain='a.test'
Le_Alt='b.test,*.c.test'
Le_API='https://ca.test/dir'
Le_Webroot='dns_nsupdate,/var/www'
Le_ReloadCmd='__ACME_BASE64__START_cG9zdGZpeCByZWxvYWQ=__ACME_BASE64__END_'
Le_RealKeyPath='/etc/it'\''s.key'
Le_Keylength='ec-256'
%% ca/ca.test/dir/account.json
{"status":"valid"}
%% ca/ca.test/dir/ca.conf
ACCOUNT_URL='https://ca.test/a/1'
CA_KEY_HASH='x'
%% ca/ca.test/dir/account.key
x
