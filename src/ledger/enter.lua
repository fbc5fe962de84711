-- A life is about to store the images: the task has ended, and its slots are free. One that dies there leaves its entry behind.
-- ARGV[3] the life's own word: a repeated call counts once; "" for the life that submitted the job, counted with its task
-- answer  "ok", the field entries being the count with this one; "moved" where the job isn't generating
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
if (record.entered or '') ~= ARGV[3] then
  redis.call('HINCRBY', job, 'entries', 1)
  redis.call('HSET', job, 'entered', ARGV[3])
end
release()
return answer('ok')
