-- Load for wrk: POST requests from a file with one JSON body per line, in turn. The result is one line of JSON.
-- wrk ... URL -- BODIES [KEY]; in a body, "@" is replaced by a number that no other request has.
local run, bodies, n, headers = "", {}, 0, { ["content-type"] = "application/json" }

function init(args)
  run = string.format("%x", os.time())
  for line in io.lines(args[1]) do bodies[#bodies + 1] = line end
  if args[2] then headers["authorization"] = "Bearer " .. args[2] end
end

function request()
  n = n + 1
  local body = bodies[(n - 1) % #bodies + 1]
  return wrk.format("POST", nil, headers, (body:gsub("@", run .. "-" .. n)))
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f, "bad": %d, "socket": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, e.status, e.connect + e.read + e.write + e.timeout))
end
