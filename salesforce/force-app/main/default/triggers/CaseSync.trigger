/** Says when a Case was opened and closed; counts, stamps and announces what people change; see CaseTimes and SharedRecords. */
trigger CaseSync on Case (before insert, before update, after insert, after update, after delete, after undelete) {
    if (Trigger.isBefore) {
        CaseTimes.tell(Trigger.new, Trigger.oldMap);
    }
    SharedRecords.handle();
}
