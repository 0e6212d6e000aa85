/** Counts, stamps and announces what people change; see SharedRecords. */
trigger AccountSync on Account (before insert, before update, after insert, after update, after delete, after undelete) {
    SharedRecords.handle();
}
