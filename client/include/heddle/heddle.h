// Everything a C++ program needs. Link with heddle::heddle; std and heddle headers only.
//
//   auto client = heddle::Client::connect().value();          // value() throws heddle::Error
//   auto jobs = client.create_queue("jobs", {.open_existing = true}).value();
//   jobs.put("resize cat.jpg").value();
//   while (auto job = jobs.get_for(5s)) std::cout << job->text() << '\n';
#ifndef HEDDLE_HEDDLE_H_
#define HEDDLE_HEDDLE_H_

#include <heddle/block.h>
#include <heddle/client.h>
#include <heddle/dict.h>
#include <heddle/list.h>
#include <heddle/lock.h>
#include <heddle/lock_options.h>
#include <heddle/message.h>
#include <heddle/options.h>
#include <heddle/pipe.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#endif  // HEDDLE_HEDDLE_H_
