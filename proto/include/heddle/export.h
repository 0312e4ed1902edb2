// Marks what libheddle.so shows to programs; everything else in it is hidden.
#ifndef HEDDLE_EXPORT_H_
#define HEDDLE_EXPORT_H_

#define HEDDLE_API [[gnu::visibility("default")]]

#endif  // HEDDLE_EXPORT_H_
