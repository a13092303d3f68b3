"""What tests of several folders share: servers, clients, programs and a served folder."""
