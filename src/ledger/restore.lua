-- missing, submitting, or done as unknown -> what the receipts say.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] "", the open attempt of the record, or "ended"   ARGV[6] stage   ARGV[7] attempt
-- ARGV[8] nonce, for "submitting"   ARGV[9] task id, for "generating"   ARGV[10] event, for "done"
-- ARGV[11] "", or the event of the unknown outcome that the end will correct    ARGV[12] for "done": "1" as ARGV[9] of freeze.lua
-- ARGV[13] "", or the tasks that have failed before, and ARGV[14] whether any of them was charged
-- ARGV[15] "", or the external id of the attempt   ARGV[16] the name of the route
-- answer  "ok", or "moved" if the record is not the one to be replaced
local digest, round, open, stage, attempt, corrects = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[11]
if foreign() then return answer('moved') end
if open == '' then
  if not missing then return answer('moved') end
elseif open == 'ended' then
  if not missing and not (record.stage == 'done' and record.event == corrects) then return answer('moved') end
elseif missing or record.stage ~= 'submitting' or record.attempt ~= open then
  return answer('moved')
end
local set, drop = {'stage', stage, 'digest', digest, 'round', round, 'since_ms', now}, {'replaceable', 'entries', 'entered', 'tried_ms'}
local function field(name, value, stages)
  if stages[stage] then
    set[#set + 1], set[#set + 2] = name, value
  else
    drop[#drop + 1] = name
  end
end
field('attempt', attempt, {new = true, submitting = true, generating = true})
field('route', ARGV[16], {new = true, submitting = true, generating = true})
field('nonce', ARGV[8], {submitting = true})
field('task', ARGV[9], {generating = true})
field('event', ARGV[10], {done = true})
if corrects ~= '' then
  set[#set + 1], set[#set + 2] = 'corrects', corrects
else
  drop[#drop + 1] = 'corrects'
end
if ARGV[13] ~= '' then
  set[#set + 1], set[#set + 2], set[#set + 3], set[#set + 4] = 'failed_tasks', ARGV[13], 'failed_charged', ARGV[14]
else
  drop[#drop + 1], drop[#drop + 2] = 'failed_tasks', 'failed_charged'
end
if ARGV[15] ~= '' then
  set[#set + 1], set[#set + 2] = 'under', ARGV[15]
else
  drop[#drop + 1] = 'under'
end
move(set, drop)
if stage == 'submitting' or stage == 'generating' then
  hold_anew()
elseif ARGV[12] ~= '1' then
  release()
end
return answer('ok')
