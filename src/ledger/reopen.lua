-- submitting -> new, the next attempt: this one was certainly not accepted, or never sent.
-- ARGV[3] attempt   ARGV[4] nonce of the ask that allowed it; "" if a receipt says that the attempt is closed
-- answer  "ok", also to a repeated call; "none" or "moved"
local attempt, nonce = ARGV[3], ARGV[4]
local next_attempt = string.format('%.0f', tonumber(attempt) + 1)
if missing then return answer('none') end
if foreign() then return answer('moved') end
local ours = nonce == '' or record.nonce == nonce
if record.stage == 'new' and record.attempt == next_attempt and ours then return answer('ok') end
if record.stage ~= 'submitting' or record.attempt ~= attempt or not ours then return answer('moved') end
-- The nonce stays, so that a repeated call is recognized.
move({'stage', 'new', 'attempt', next_attempt, 'since_ms', now}, {'under'})
release()
return answer('ok')
