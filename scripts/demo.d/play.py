"""What --keep prints: the lines to play with, and how to stop."""

import os


def how_to_play(server, receiver, tenant, bearer, webhook_id):
    return f"""
Still running (administrator's token of {tenant}, valid for a day). In another terminal:

  TOKEN={bearer}

  wscat -c {server.ws_url}/ws -H "Authorization: Bearer $TOKEN"

  curl -s {server.url}/api/v1/events -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
       -d '{{"type":"call.incoming","data":{{"call_id":"call-1","caller":"+12125550123","queue":"billing"}}}}'
  curl -s {server.url}/api/v1/webhooks -H "Authorization: Bearer $TOKEN"
  curl -s {server.url}/api/v1/webhooks/{webhook_id}/stats -H "Authorization: Bearer $TOKEN"
  curl -s {server.url}/api/v1/plugins -H "Authorization: Bearer $TOKEN"
  curl -s {receiver.url}/counts                      # what the receiver got
  tail -f {server.log}

Ctrl-C here (or kill {os.getpid()}) stops the server and the receiver and removes {server.folder}"""
